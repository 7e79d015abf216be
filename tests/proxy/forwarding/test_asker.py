"""The lines that tell a node who its client is."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from lbproxy.config.schema import ForwardedFields, ForwardingSettings
from lbproxy.proxy.forwarding.asker import Asker, asker_of_peer
from lbproxy.proxy.forwarding.rules import ForwardingRules, drop_rules
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_render import render
from lbproxy.wire.http1_request import RequestParser
from lbproxy.wire.request_head import RequestHead

TRUSTED = (ip_network("10.0.0.0/8"),)


def view(
    peer: str, *, scheme: bytes = b"https", fields: str = "x-forwarded", chain: bool = False
) -> Asker:
    settings = ForwardingSettings(
        trusted_proxies=TRUSTED, fields=ForwardedFields(fields), chain=chain
    )
    return asker_of_peer(ForwardingRules(settings, "gate"), peer, scheme)


class Somewhere(asyncio.BaseTransport):
    """A transport that knows nothing of its peer."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


def request(authority: bytes, received: list[tuple[bytes, bytes]] | None) -> RequestHead:
    """A request's head with these forwarded fields."""
    head = RequestHead()
    head.authority = authority
    head.received = received
    return head


def lines(text: str) -> bytes:
    """The lines of `text`, each with CRLF."""
    return "".join(f"{line.strip()}\r\n" for line in text.strip().splitlines()).encode()


def test_a_stranger_is_what_the_socket_says() -> None:
    assert view("198.51.100.9").lines(b"idp.example:8443") == lines(
        """X-Forwarded-For: 198.51.100.9
        X-Forwarded-Proto: https
        X-Forwarded-Host: idp.example:8443
        X-Forwarded-Port: 8443
        X-Forwarded-Server: gate"""
    )


@pytest.mark.parametrize(
    ("peer", "shown", "node"),
    [
        ("2001:db8::9", "2001:db8::9", '"[2001:db8::9]"'),
        ("::ffff:198.51.100.9", "198.51.100.9", "198.51.100.9"),
        ("fe80::1%eth0", "fe80::1", '"[fe80::1]"'),
    ],
)
def test_addresses_are_written_in_each_dialects_form(peer: str, shown: str, node: str) -> None:
    some = view(peer, fields="both")
    assert some.address == shown
    assert some.lines(b"idp.example") == lines(
        f"""X-Forwarded-For: {shown}
        X-Forwarded-Proto: https
        X-Forwarded-Host: idp.example
        X-Forwarded-Port: 443
        X-Forwarded-Server: gate
        Forwarded: for={node};proto=https;host=idp.example;by=_gate"""
    )


def test_forwarded_alone_quotes_what_is_not_a_token() -> None:
    assert view("198.51.100.9", scheme=b"http", fields="forwarded").lines(b"[::1]:80") == lines(
        'Forwarded: for=198.51.100.9;proto=http;host="[::1]:80";by=_gate'
    )


def test_a_unix_peer_has_no_address() -> None:
    some = view("", fields="both", scheme=b"http")
    assert not some.trusted
    assert some.lines(b"") == lines(
        """X-Forwarded-Proto: http
        X-Forwarded-Port: 80
        X-Forwarded-Server: gate
        Forwarded: for=unknown;proto=http;by=_gate"""
    )


def test_lines_are_kept_while_the_host_stays_the_same() -> None:
    some = view("198.51.100.9")
    first = some.lines(b"idp.example")
    assert some.lines(b"idp" + b".example") is first
    assert b"other.example" in some.lines(b"other.example")
    assert some.lines(b"idp.example") == first


def test_a_trusted_proxy_speaks_for_its_client() -> None:
    some = view("10.0.0.1", scheme=b"http")
    assert some.trusted
    received = [
        (b"X-Forwarded-For", b"6.6.6.6, 198.51.100.9, 10.0.0.2"),
        (b"X-Forwarded-Proto", b"HTTPS"),
        (b"X-Forwarded-Host", b"idp.example"),
        (b"X-Forwarded-Port", b"8443"),
    ]
    first = some.of(request(b"inner:80", received))
    assert first.lines(b"inner:80") == lines(
        """X-Forwarded-For: 198.51.100.9
        X-Forwarded-Proto: https
        X-Forwarded-Host: idp.example:8443
        X-Forwarded-Port: 8443
        X-Forwarded-Server: gate"""
    )
    # The next request on the connection is another client's, and changes nothing of the first.
    second = some.of(request(b"inner:80", None))
    assert (first.address, first.https) == ("198.51.100.9", True)
    assert (second.address, second.https) == ("10.0.0.1", False)
    assert (some.address, some.https) == ("10.0.0.1", False)


def test_each_request_of_a_trusted_proxy_has_its_own_asker() -> None:
    """The second is read before the first is answered: each has its own client everywhere."""
    proxy = view("10.0.0.1", scheme=b"http")
    said = [
        [(b"X-Forwarded-For", b"198.51.100.9"), (b"X-Forwarded-Proto", b"https")],
        [(b"X-Forwarded-For", b"203.0.113.7"), (b"X-Forwarded-Proto", b"http")],
    ]
    first, second = (proxy.of(request(b"idp.example", received)) for received in said)
    assert (first.address, first.https) == ("198.51.100.9", True)
    assert (second.address, second.https) == ("203.0.113.7", False)
    assert b"X-Forwarded-For: 198.51.100.9\r\n" in first.lines(b"idp.example")
    assert b"X-Forwarded-For: 203.0.113.7\r\n" in second.lines(b"idp.example")
    transport = Somewhere()
    facts = first.facts(transport), second.facts(transport)
    assert [each.remote_addr for each in facts] == [b"198.51.100.9", b"203.0.113.7"]
    assert [each.secure for each in facts] == [True, False]


def test_a_stranger_has_one_asker_for_all_requests() -> None:
    stranger = view("198.51.100.9")
    claim = [(b"X-Forwarded-For", b"6.6.6.6")]
    assert stranger.of(request(b"idp.example", claim)) is stranger


def test_a_chain_holds_only_vouched_addresses() -> None:
    """The claim 6.6.6.6 is left out: some providers read the leftmost address."""
    some = view("10.0.0.1", fields="both", chain=True)
    received = [(b"X-Forwarded-For", b"6.6.6.6, 198.51.100.9, 10.0.0.2")]
    assert some.of(request(b"h", received)).lines(b"h") == lines(
        """X-Forwarded-For: 198.51.100.9, 10.0.0.2, 10.0.0.1
        X-Forwarded-Proto: https
        X-Forwarded-Host: h
        X-Forwarded-Port: 443
        X-Forwarded-Server: gate
        Forwarded: for=198.51.100.9;proto=https;host=h, for=10.0.0.2, for=10.0.0.1;by=_gate"""
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X-Forwarded-Proto", b"ftp"),
        (b"X-Forwarded-Proto", b"ftp, http"),
        (b"X-Forwarded-Proto", b","),
        (b"X-Forwarded-Host", b"evil.example/path"),
        (b"X-Forwarded-Host", b"a b, c"),
        (b"X-Forwarded-Host", b""),
        (b"X-Forwarded-Port", b"x,443"),
        (b"X-Forwarded-Port", b"99999"),
    ],
)
def test_nonsense_counts_as_not_received(name: bytes, value: bytes) -> None:
    some = view("10.0.0.1", scheme=b"http")
    assert some.of(request(b"idp.example", [(name, value)])).lines(b"idp.example") == some.lines(
        b"idp.example"
    )


def test_a_server_name_cannot_break_the_head() -> None:
    rules = ForwardingRules(ForwardingSettings(server_name="gate\r\nX: y"), "machine")
    assert (
        asker_of_peer(rules, "1.2.3.4", b"http")
        .lines(b"h")
        .endswith(b"\r\nX-Forwarded-Server: gate--X--y\r\n")
    )
    assert ForwardingRules(ForwardingSettings(), "machine").server_name == b"machine"


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        (b"Content-Length: 3\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n"),
        (
            b"Connection: upgrade\r\nUpgrade: websocket\r\n",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        ),
    ],
)
def test_a_head_is_rendered_with_our_lines_and_our_framing(fields: bytes, framing: bytes) -> None:
    parser = RequestParser(HeadLimits(1000, 1000, 10), drop_rules(()))
    head = parser.parse(b"GET /a?b HTTP/1.1\r\nHost: c\r\n" + fields + b"\r\n", 0, False)
    assert head is not None
    client = view("198.51.100.9")
    kept = fields if fields.startswith(b"Content-Length") else b""
    assert render(head, client.lines(head.authority), b"id1") == (
        b"GET /a?b HTTP/1.1\r\nHost: c\r\n"
        + kept
        + client.lines(b"c")
        + b"X-Request-Id: id1\r\n"
        + framing
        + b"\r\n"
    )
    assert client.https
