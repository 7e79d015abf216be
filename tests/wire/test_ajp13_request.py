"""AJP/1.3 to the node: what a container reads of the heads that lbproxy renders."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz import ajp13_peer
from tests.fuzz.ajp13_peer import Forward
from tests.wire.ajp13_asking import EXAMPLE, FACTS, encode, fields, head, refused

if TYPE_CHECKING:
    from tests.wire.conftest import Wire


def test_the_worked_example(wire: Wire) -> None:
    packet = wire.ajp_encoder().forward_request(
        wire.as_head(EXAMPLE), b"", wire.ajp_facts(**FACTS), 8192
    )
    assert len(packet) == 367
    assert sha256(packet).hexdigest()[:16] == "cde4c3892540ebbf"
    assert packet[:12] == bytes.fromhex("1234016b02040008485454 50".replace(" ", ""))


def test_a_container_reads_the_worked_example(wire: Wire) -> None:
    assert encode(wire, EXAMPLE, **FACTS) == Forward(
        method="POST",
        protocol=b"HTTP/1.1",
        uri=b"/auth/realms/demo/protocol/openid-connect/token",
        remote_addr=b"192.0.2.44",
        remote_host=None,
        server_name=b"idp.example.org",
        server_port=443,
        secure=True,
        headers=[
            (b"host", b"idp.example.org"),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"content-length", b"29"),
            (b"cookie", b"AUTH_SESSION_ID=5f0c.node1"),
            (b"x-request-id", b"r1"),
        ],
        attributes={
            "secret": b"s3cret",
            "query": b"x=1",
            "route": b"node1",
            "cipher": b"TLS_AES_256_GCM_SHA384",
            "key_size": 256,
            "AJP_SSL_PROTOCOL": b"TLSv1.3",
            "AJP_REMOTE_PORT": b"51514",
            "AJP_LOCAL_ADDR": b"198.51.100.9",
        },
    )


def test_what_is_not_known_is_not_said(wire: Wire) -> None:
    read = encode(wire, head())
    assert read.attributes == {}
    assert (read.server_name, read.server_port, read.secure) == (b"a.example", 80, False)
    assert read.remote_addr == b""  # null would make Tomcat say null to the application


def test_tls_is_said_of_tls_alone(wire: Wire) -> None:
    read = encode(wire, head(), **FACTS | {"secure": False, "server_port": 80})
    assert sorted(read.attributes) == ["AJP_LOCAL_ADDR", "AJP_REMOTE_PORT", "route", "secret"]
    read = encode(wire, head(), secure=True)
    assert (read.secure, read.server_port, read.attributes) == (True, 443, {})


@pytest.mark.parametrize("bits", [0, 65536])
def test_a_key_size_that_is_none_is_not_said(wire: Wire, bits: int) -> None:
    assert "key_size" not in encode(wire, head(), secure=True, tls_key_size=bits).attributes


def test_facts_that_belong_to_the_node_may_change(wire: Wire) -> None:
    facts = wire.ajp_facts(**FACTS)
    facts.secret, facts.route = b"", b"node2"
    facts.server_port, facts.authority = 8443, b"b.example"
    read = ajp13_peer.decode(
        wire.ajp_encoder().forward_request(wire.as_head(head()), b"", facts, 8192)
    )
    assert (read.attributes["route"], "secret" in read.attributes) == (b"node2", False)
    assert read.headers == [(b"host", b"b.example:8443")]


# Rule: Tomcat takes the port from Host alone. Host, the port as the client knows it, TLS; what the
# node is told: host, server name, server port.
HOSTS = [
    (b"a.example", 0, False, b"a.example", b"a.example", 80),
    (b"a.example", 0, True, b"a.example", b"a.example", 443),
    (b"a.example", 80, False, b"a.example", b"a.example", 80),
    (b"a.example", 443, True, b"a.example", b"a.example", 443),
    (b"a.example", 8443, True, b"a.example:8443", b"a.example", 8443),
    (b"a.example", 443, False, b"a.example:443", b"a.example", 443),
    (b"a.example:8443", 443, True, b"a.example:8443", b"a.example", 8443),
    (b"a.example:443", 0, True, b"a.example:443", b"a.example", 443),
    (b"a.example", 65536, True, b"a.example", b"a.example", 443),
    (b"a.example", -1, False, b"a.example", b"a.example", 80),
    (b"192.0.2.1", 8080, False, b"192.0.2.1:8080", b"192.0.2.1", 8080),
    (b"8080", 0, False, b"8080", b"8080", 80),
    (b"[2001:db8::1]", 8443, True, b"[2001:db8::1]:8443", b"[2001:db8::1]", 8443),
    (b"[2001:db8::1]:99", 8443, True, b"[2001:db8::1]:99", b"[2001:db8::1]", 99),
    (b"a:1", 8443, True, b"a:1", b"a", 1),
    (b"a:65535", 0, True, b"a:65535", b"a", 65535),
]


@pytest.mark.parametrize(("host", "known", "secure", "told", "name", "port"), HOSTS)
def test_host_holds_the_port_of_the_client(
    wire: Wire, host: bytes, known: int, secure: bool, told: bytes, name: bytes, port: int
) -> None:
    request = b"GET / HTTP/1.1\r\nA: b\r\nhOST:  " + host + b" \r\nC: d\r\n\r\n"
    read = encode(wire, request, server_port=known, secure=secure)
    assert read.headers == [(b"A", b"b"), (b"host", told), (b"C", b"d")]
    assert (read.server_name, read.server_port) == (name, port)
    # As a trusted proxy says whom the client asked for.
    other = encode(wire, head(), server_port=known, secure=secure, authority=host)
    assert other.headers == [(b"host", told)]
    assert (other.server_name, other.server_port) == (name, port)


@pytest.mark.parametrize(
    "host",
    [b"", b":80", b"a::", b":", b"a:0", b"a:65536", b"a:123456", b"a@b", b"a b", b"[::1", b"a:b"],
)
def test_a_host_that_is_none(wire: Wire, host: bytes) -> None:
    assert refused(wire, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") == "bad_request"


@pytest.mark.parametrize("authority", [b"a\r\nb", b"a\x00", b"a:0", b" "])
def test_what_a_proxy_says_is_a_host(wire: Wire, authority: bytes) -> None:
    assert refused(wire, head(), authority=authority) == "bad_request"


@pytest.mark.parametrize(("code", "name"), list(enumerate(ajp13_peer.METHODS, 1)))
def test_methods_with_a_code(wire: Wire, code: int, name: bytes) -> None:
    request = head(first=name + b" /a HTTP/1.1")
    packet = wire.ajp_encoder().forward_request(wire.as_head(request), b"", wire.ajp_facts(), 8192)
    assert packet[5] == code
    read = ajp13_peer.decode(packet)
    assert (read.method.encode(), "stored_method" in read.attributes) == (name, False)


@pytest.mark.parametrize("name", [b"PATCH", b"QUERY", b"get", b"X-Y_Z", b"A" * 300])
def test_methods_without_a_code_go_by_name(wire: Wire, name: bytes) -> None:
    """A code FF without the name would run with no method at all."""
    request = head(first=name + b" /a?b HTTP/1.1")
    packet = wire.ajp_encoder().forward_request(
        wire.as_head(request), b"", wire.ajp_facts(**FACTS), 8192
    )
    assert packet[5] == 0xFF
    read = ajp13_peer.decode(packet)
    assert (read.method.encode(), read.attributes["query"]) == (name, b"b")


TARGETS: list[tuple[bytes, bytes, bytes | None]] = [
    (b"/", b"/", None),
    (b"/a?", b"/a", b""),  # absent and empty differ
    (b"/a?b?c=/d", b"/a", b"b?c=/d"),
    (b"/a;x=1/..;/b%2f%00", b"/a;x=1/..;/b%2f%00", None),  # signatures depend on bytes
    (b"//a/%2e%2e/%7E~", b"//a/%2e%2e/%7E~", None),
    (b'/a|b"<>`{}\\^', b'/a|b"<>`{}\\^', None),
    (b"/p\xc3\xa4ge?q=\xe4\xff", b"/p%C3%A4ge", b"q=%E4%FF"),  # Undertow refuses such bytes
    (b"/?\x80", b"/", b"%80"),
]


@pytest.mark.parametrize(("target", "path", "query"), TARGETS)
def test_targets(wire: Wire, target: bytes, path: bytes, query: bytes | None) -> None:
    read = encode(wire, head(first=b"GET " + target + b" HTTP/1.1"))
    assert (read.uri, read.attributes.get("query")) == (path, query)


def test_options_of_the_server(wire: Wire) -> None:
    assert encode(wire, head(first=b"OPTIONS * HTTP/1.1")).uri == b"*"
    assert refused(wire, head(first=b"GET * HTTP/1.1")) == "bad_request"
    assert refused(wire, head(first=b"OPTIONS *? HTTP/1.1")) == "bad_request"
    assert refused(wire, head(first=b"OPTIONS *a HTTP/1.1")) == "bad_request"


@pytest.mark.parametrize(("code", "name"), list(enumerate(ajp13_peer.REQUEST_NAMES, 1)))
def test_names_with_a_code(wire: Wire, code: int, name: bytes) -> None:
    value = b"a.example" if name == b"host" else b"1"
    request = head() if name == b"host" else head(name.upper() + b":" + value)
    packet = wire.ajp_encoder().forward_request(wire.as_head(request), b"", wire.ajp_facts(), 8192)
    coded = bytes((0xA0, code)) + ajp13_peer.string(value)
    assert packet.count(coded) == (0 if name == b"connection" else 1)


@pytest.mark.parametrize("name", [b"Accepts", b"Cookie3", b"Host-", b"X", b"x-aB~", b"Range"])
def test_other_names_go_as_they_are(wire: Wire, name: bytes) -> None:
    assert fields(encode(wire, head(name + b": v"))) == [(name, b"v")]


DROPPED = (
    b"Connection: close, x|Keep-Alive: 5|TE: trailers|Trailer: X|Upgrade: websocket|"
    b"Expect: 100-continue|Proxy-Connection: x|Proxy-Authorization: x|HTTP2-Settings: x"
).split(b"|")


@pytest.mark.parametrize("line", DROPPED)
def test_what_is_meant_for_this_hop_ends_here(wire: Wire, line: bytes) -> None:
    read = encode(wire, head(b"A: b", line.swapcase(), line, b"C: d"))
    assert fields(read) == [(b"A", b"b"), (b"C", b"d")]


def test_values_go_as_they_are(wire: Wire) -> None:
    """Without the white space around them, with repetitions, in their order, all bytes from 128."""
    read = encode(wire, head(b"A: \t b \tc \t", b"A:", b"a: \xe4\xff\x80", b"A:" + b"x" * 5000))
    assert fields(read) == [
        (b"A", b"b \tc"),
        (b"A", b""),
        (b"a", b"\xe4\xff\x80"),
        (b"A", b"x" * 5000),
    ]


@pytest.mark.parametrize("value", [b"0", b"29", b"0029", b"9" * 18])
def test_a_length_goes_on(wire: Wire, value: bytes) -> None:
    read = encode(wire, head(b"Content-Length: " + value))
    assert fields(read) == [(b"content-length", value)]


def test_a_body_without_a_length_is_said_to_be_chunked(wire: Wire) -> None:
    """Undertow sees no body otherwise."""
    read = encode(wire, head(b"Transfer-Encoding:\tCHUNKED ", b"A: b"))
    assert fields(read) == [(b"A", b"b"), (b"transfer-encoding", b"chunked")]


DOUBTFUL = [
    (b"Content-Length: 5", b"Content-Length: 5"),  # Undertow answers twice
    (b"Content-Length: 5", b"Transfer-Encoding: chunked"),  # Tomcat waits, Undertow miscounts
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: gzip",),
    (b"Transfer-Encoding: chunked, chunked",),
    (b"Transfer-Encoding: xchunked",),
    (b"Content-Length: +5",),
    (b"Content-Length: ",),
    (b"Content-Length: 5, 5",),
    (b"Content_Length: 5",),
    (b"Host: a.example",),
    (b"A b: c",),
    (b"A : b",),
    (b": b",),
    (b"A",),
    (b"A: b", b" folded"),
    (b"A: b\x00",),
    (b"A: b\nC: d",),
    (b"A: b\rC: d",),
    (b"A: \x7f",),
    (b"A\xe4: b",),
]


@pytest.mark.parametrize("lines", DOUBTFUL)
def test_doubtful_heads(wire: Wire, lines: tuple[bytes, ...]) -> None:
    assert refused(wire, head(*lines)) == "bad_request"


FIRST_LINES = (
    b"|GET|GET /|GET / HTTP/1.0|GET / HTTP/1.1 |GET  / HTTP/1.1|GET http://b/x HTTP/1.1|"
    b"GET a HTTP/1.1|GET /a b HTTP/1.1|GET /a#b HTTP/1.1|GET /a\x00 HTTP/1.1|GET ?a HTTP/1.1|"
    b"GET /\x7f HTTP/1.1|G\xe4T / HTTP/1.1|GET /?a#b HTTP/1.1|GET /?\t HTTP/1.1| / HTTP/1.1|"
    b"CONNECT a:443 HTTP/1.1|GET\t/ HTTP/1.1|GET /\nX: y HTTP/1.1|GET /?\rX HTTP/1.1"
).split(b"|")


@pytest.mark.parametrize("first", FIRST_LINES)
def test_first_lines_that_are_refused(wire: Wire, first: bytes) -> None:
    assert refused(wire, head(first=first)) == "bad_request"


def test_no_piece_of_a_head_is_taken(wire: Wire) -> None:
    for cut in range(len(EXAMPLE)):
        assert refused(wire, EXAMPLE[:cut]) == "bad_request"
    assert refused(wire, EXAMPLE + b"x") == "bad_request"
    assert refused(wire, EXAMPLE + EXAMPLE) == "bad_request"


def test_fields_in_runs_and_our_own_lines_are_one_head(wire: Wire) -> None:
    """However the lines that go on are cut into runs."""
    lines = EXAMPLE[:-2].splitlines(keepends=True)
    encoder, facts = wire.ajp_encoder(), wire.ajp_facts(**FACTS)
    whole = encoder.forward_request(wire.as_head(EXAMPLE), b"", facts, 8192)
    made = wire.as_head(EXAMPLE)
    for cuts in range(1 << 4):
        runs = [lines[0]]
        for i, line in enumerate(lines[1:-1]):
            if cuts >> i & 1:
                runs += [b"", line]
            else:
                runs[-1] += line
        made.parts = runs
        for _ in range(2):  # for a second node, too
            assert encoder.forward_request(made, lines[-1], facts, 8192) == whole
        assert made.parts is runs


@pytest.mark.parametrize(
    "line",
    [
        *(b"Host: a.example\r\n", b"Transfer-Encoding: chunked\r\n", b"A: \x00\r\n", b"A: b"),
        *(b"A: b\r\n\r\n", b"\r\n", b"Content-Length: 29\r\n", b"A : b\r\n"),
    ],
)
def test_no_run_and_no_line_of_ours_is_trusted(wire: Wire, line: bytes) -> None:
    encoder, facts = wire.ajp_encoder(), wire.ajp_facts(**FACTS)
    for run, lines in ((line, b""), (b"", line)):
        made = wire.as_head(EXAMPLE)
        made.parts.append(run)
        with pytest.raises(wire.bad_head):
            encoder.forward_request(made, lines, facts, 8192)


@pytest.mark.parametrize("off", [-2, -1, 1, 2, 24, 500])
def test_fields_begin_behind_the_request_line(wire: Wire, off: int) -> None:
    made = wire.as_head(EXAMPLE)
    made.line_size += off
    with pytest.raises(wire.bad_head):
        wire.ajp_encoder().forward_request(made, b"", wire.ajp_facts(), 8192)
    made.parts, made.line_size = [], made.line_size - off
    with pytest.raises(wire.bad_head):
        wire.ajp_encoder().forward_request(made, b"", wire.ajp_facts(), 8192)


def test_no_host(wire: Wire) -> None:
    assert refused(wire, b"GET / HTTP/1.1\r\n\r\n") == "bad_request"
    assert refused(wire, b"GET / HTTP/1.1\r\nHosts: a\r\n\r\n", authority=b"a") == "bad_request"


@pytest.mark.parametrize("name", ["secret", "route"])
@pytest.mark.parametrize("value", [b"a\x00b", b"a\r\nb", b"\x7f"])
def test_control_bytes_in_what_is_known_of_the_node(wire: Wire, name: str, value: bytes) -> None:
    facts: dict[str, Any] = {name: value}
    assert refused(wire, head(), **facts) == "bad_request"


@pytest.mark.parametrize("name", ["remote_addr", "local_addr", "tls_protocol", "tls_cipher"])
@pytest.mark.parametrize("value", [b"a\x00b", b"\n", b"a" * 65533])
def test_facts_that_cannot_be_said(wire: Wire, name: str, value: bytes) -> None:
    with pytest.raises(ValueError, match="what is said of a client"):
        wire.ajp_facts(**{name: value, "secure": True})
