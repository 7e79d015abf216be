"""PROXY headers, valid, broken, and cut at every offset."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.wire import proxy_protocol
from lbproxy.wire.proxy_protocol import (
    ClientTls,
    Command,
    ProxyHeader,
    ProxyProtocolError,
    parse,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (51234).to_bytes(2, "big") + (443).to_bytes(2, "big")
REQUEST = b"GET / HTTP/1.1\r\n"


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    """Encode a version 2 header."""
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


def tlv(kind: int, value: bytes) -> bytes:
    """Encode one type-length-value vector."""
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n",
            ("192.0.2.7", 51234),
            ("198.51.100.1", 443),
        ),
        (
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            ("255.255.255.255", 65535),
            ("255.255.255.255", 65535),
        ),
        (b"PROXY TCP6 2001:DB8::1 ::1 0 1\r\n", ("2001:db8::1", 0), ("::1", 1)),
        (
            b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
            b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
        ),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN what \xff ever\r\n", None, None),
    ],
)
def test_version_1(
    line: bytes, source: tuple[str, int] | None, destination: tuple[str, int] | None
) -> None:
    assert parse(line + REQUEST) == ProxyHeader(1, Command.PROXY, source, destination, len(line))


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 \r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n",
        b"PROXY TCP4 192.0.2.7\t198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 ::1 ::1 51234 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 51234 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        b"PROXY TCP6 [::1] ::1 1 1\r\n",
        b"PROXY TCP6 1::2::3 ::1 1 1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 051234 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1_0 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 \xb2 443\r\n",
        b"PROXY TCP4 192.0.2.\xb2 198.51.100.1 1 443\r\n",
        b"PROXY tcp4 192.0.2.7 198.51.100.1 1 443\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 1 443\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 1 443\r\n",
        b"PROXYTCP4 192.0.2.7 198.51.100.1 1 443\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\n\r\nGET",
    ],
)
def test_what_is_not_a_header_is_refused(line: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse(line)


def test_a_line_without_end_is_refused_at_its_limit() -> None:
    assert parse(b"PROXY UNKNOWN ".ljust(106, b"x")) is None
    with pytest.raises(ProxyProtocolError):
        parse(b"PROXY UNKNOWN ".ljust(107, b"x"))
    longest = b"PROXY UNKNOWN ".ljust(105, b"x") + b"\r\n"
    assert parse(longest) == ProxyHeader(1, Command.PROXY, None, None, 107)


def with_crc(body: bytes) -> bytes:
    """A version 2 header with a correct CRC32c as the last TLV."""
    blank = v2(body + tlv(3, bytes(4)))
    return blank[:-4] + proxy_protocol._crc32c(blank).to_bytes(4, "big")


SOURCE, DESTINATION = ("192.0.2.7", 51234), ("198.51.100.1", 443)
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("::1").packed + V4[8:]

V2_ROWS = [
    (v2(V4), Command.PROXY, SOURCE, DESTINATION),
    (v2(V6, family=0x21), Command.PROXY, ("2001:db8::7", 51234), ("::1", 443)),
    (v2(V4 + tlv(4, b"") + tlv(0x20, b"x" * 300)), Command.PROXY, SOURCE, DESTINATION),
    (with_crc(V4), Command.PROXY, SOURCE, DESTINATION),
    (v2(b"/run/x".ljust(216, b"\0"), family=0x31), Command.PROXY, None, None),
    (v2(V4, family=0x12), Command.PROXY, None, None),
    (v2(b"", family=0x00), Command.PROXY, None, None),
    (v2(b"anything", family=0x00), Command.PROXY, None, None),
    (v2(b"", command=0x20, family=0x00), Command.LOCAL, None, None),
    (v2(b"any", command=0x20, family=0x77), Command.LOCAL, None, None),
    (v2(V4 + tlv(4, b"x" * (4096 - 15))), Command.PROXY, SOURCE, DESTINATION),
]


@pytest.mark.parametrize(("data", "command", "source", "destination"), V2_ROWS)
def test_version_2(
    data: bytes,
    command: Command,
    source: tuple[str, int] | None,
    destination: tuple[str, int] | None,
) -> None:
    assert parse(data + REQUEST) == ProxyHeader(2, command, source, destination, len(data))


@pytest.mark.parametrize(
    "data",
    [
        v2(V4, command=0x11),
        v2(V4, command=0x31),
        v2(V4, command=0x22),
        v2(V4, family=0x41),
        v2(V4, family=0x13),
        v2(V4[:11]),
        v2(V4, family=0x21),
        v2(b"x" * 215, family=0x31),
        v2(V4 + b"\x04"),
        v2(V4 + b"\x04\x00\x01"),
        v2(V4 + tlv(3, b"\0\0\0\0")),
        v2(V4 + tlv(3, b"\0\0\0")),
        with_crc(V4 + tlv(3, b"\0\0\0\0")),
        with_crc(V4)[:16] + b"\x0a" + with_crc(V4)[17:],
        v2(V4)[:14] + b"\x10\x01",
    ],
)
def test_broken_version_2_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse(data)


def facts(client: int, *vectors: bytes) -> bytes:
    """Encode the TLV of TLS facts: flags, the result of verification, further vectors."""
    return tlv(0x20, bytes([client]) + bytes(4) + b"".join(vectors))


VERSION, CIPHER = tlv(0x21, b"TLSv1.3"), tlv(0x23, b"TLS_AES_256_GCM_SHA384")


@pytest.mark.parametrize(
    ("data", "tls"),
    [
        (v2(V4 + facts(1, VERSION)), ClientTls("TLSv1.3")),
        (v2(V4 + facts(1, VERSION, tlv(0x22, "Zoë".encode()), CIPHER)),
         ClientTls("TLSv1.3", "TLS_AES_256_GCM_SHA384")),
        (v2(V4 + tlv(4, b"") + facts(7) + tlv(5, b"id")), ClientTls()),
        (v2(V6 + facts(1, VERSION), family=0x21), ClientTls("TLSv1.3")),
        (v2(bytes(216) + facts(1, VERSION), family=0x31), ClientTls("TLSv1.3")),
        # A client without TLS, also where it showed a certificate (bits 1 and 2) some other way.
        (v2(V4 + facts(0, VERSION)), None),
        (v2(V4 + facts(6, b"anything")), None),
        (v2(V4), None),
        # "must use the real connection endpoints and discard the protocol block"
        (v2(V4 + facts(1, VERSION), command=0x20), None),
    ],
)  # fmt: skip
def test_tls_facts(data: bytes, tls: ClientTls | None) -> None:
    header = parse(data + REQUEST)
    assert header is not None
    assert header.tls == tls
    for cut in range(len(data)):
        assert parse(data[:cut]) is None


@pytest.mark.parametrize(
    "vectors",
    [
        tlv(0x20, b""),
        tlv(0x20, b"\x01\0\0\0"),
        facts(1, b"\x21"),
        facts(1, b"\x21\x00\x09TLSv1.3"),
        facts(1, VERSION, b"\x22\xff\xff"),
        facts(1, VERSION, VERSION),
        facts(1, CIPHER, CIPHER),
        facts(1, tlv(0x21, b"")),
        facts(1, tlv(0x21, b"TLSv1.3\r\n")),
        facts(1, tlv(0x21, b"\xc3\xbc")),
        facts(1, tlv(0x23, b"x" * 65)),
        facts(1) + facts(1),
        facts(0) + facts(1),
    ],
)
def test_malformed_tls_facts_are_refused(vectors: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse(v2(V4 + vectors))


def test_crc32c_is_the_castagnoli_one() -> None:
    """Known answers: RFC 3720 appendix B.4, in value order."""
    assert proxy_protocol._crc32c(b"123456789") == 0xE3069283
    assert proxy_protocol._crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n",
        b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
        b"PROXY UNKNOWN\r\n",
        with_crc(V4),
        v2(V6, family=0x21),
        v2(b"", command=0x20, family=0),
    ],
)
def test_cut_at_every_offset(data: bytes) -> None:
    for cut in range(len(data)):
        assert parse(data[:cut]) is None, cut
    whole = parse(data)
    assert whole is not None
    assert whole.consumed == len(data)
    assert parse(data + REQUEST) == whole


def test_an_impossible_start_is_refused_at_its_first_wrong_byte() -> None:
    for start in (b"G", b"PRI", b"\r\n\r\nX", SIGNATURE + b"\x31"):
        with pytest.raises(ProxyProtocolError):
            parse(start)


ADDRESSES = st.one_of(
    st.tuples(*[st.ip_addresses(v=4)] * 2), st.tuples(*[st.ip_addresses(v=6)] * 2)
)
PORT = st.integers(0, 65535)


@settings(max_examples=150)
@given(ADDRESSES, PORT, PORT)
def test_both_versions_say_the_same(
    pair: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address], sport: int, dport: int
) -> None:
    source, destination = pair
    line = f"PROXY TCP{source.version} {source} {destination} {sport} {dport}\r\n".encode()
    block = source.packed + destination.packed + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    first = parse(line)
    second = parse(v2(block, family=0x11 if source.version == 4 else 0x21))
    assert first is not None
    assert second is not None
    assert first.source == second.source == (str(source), sport)
    assert first.destination == second.destination == (str(destination), dport)


@settings(max_examples=300)
@given(
    st.binary(max_size=60), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE + b"!\x11"])
)
def test_anything_else_is_an_error_or_incomplete(data: bytes, start: bytes) -> None:
    try:
        header = parse(start + data)
    except ProxyProtocolError:
        return
    assert header is None or header.consumed <= len(start + data)
