"""The PROXY protocol, versions 1 and 2: whom a trusted load balancer in front speaks for.

The header is the first thing on a connection, or the connection is refused: whether it is expected
is configuration and never guessed. What does not match the grammar exactly is an error.
Source: HAProxy, "The PROXY protocol, versions 1 & 2", sections 2.1 and 2.2 (2.2.6 for TLS facts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import AddressValueError, IPv4Address, IPv6Address

_V1_PREFIX = b"PROXY "
_V1_MAX = 107  # with CRLF; the specification's worst case
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
# Addresses need 216 bytes at most, the rest are TLVs; large enough for a certificate's names.
_V2_MAX_LENGTH = 4096
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_MAX_PORT = 65535
_CRC32C_TYPE = 0x03
_SSL_TYPE = 0x20
# Of the TLV of that type: flags and verification result, then vectors of its own.
_SSL_FIXED = 5
_CLIENT_SSL = 0x01
_SSL_VERSION, _SSL_CIPHER = 0x21, 0x23
# "US-ASCII": words that go into logs and to the nodes, so nothing but what a name may hold.
_SSL_WORD = re.compile(rb"[A-Za-z0-9._+-]{1,64}")

Address = tuple[str, int]


class ProxyProtocolError(Exception):
    """The bytes are not a PROXY header. The text says why, without what the peer sent."""


class Command(Enum):
    """Who opened the connection: the proxy for itself (health checks), or for a client."""

    LOCAL = 0
    PROXY = 1


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The client speaks TLS to the proxy. Args: version: such as TLSv1.3; cipher: its name; empty
    if the proxy does not say."""

    version: str = ""
    cipher: str = ""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a PROXY header says.

    Args: source, destination: literal IP address and port of the client's connection; None if
    the header names none that TCP has (LOCAL, UNKNOWN, UNSPEC, Unix sockets, datagrams): then the
    connection's own addresses hold. consumed: bytes of the header; what follows is the client's.
    tls: of version 2, if the proxy says that the client speaks TLS to it; otherwise None.
    """

    version: int
    command: Command
    source: Address | None
    destination: Address | None
    consumed: int
    tls: ClientTls | None = None


def parse(data: bytes) -> ProxyHeader | None:
    """Return the header at the start of `data`, or None while bytes are missing.

    Needs at most 16 + 4096 bytes. An impossible start is refused before the header is complete.
    Raises: ProxyProtocolError.
    """
    if data.startswith(_V2_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(_V1_PREFIX):
        return _parse_v1(data)
    if _V2_SIGNATURE.startswith(data) or _V1_PREFIX.startswith(data):
        return None
    raise ProxyProtocolError("no PROXY header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, _V1_MAX)
    if end < 0:
        if len(data) >= _V1_MAX:
            raise ProxyProtocolError("version 1: line longer than 107 bytes")
        return None
    if data[end - 1] != 0x0D:
        raise ProxyProtocolError("version 1: line does not end with CRLF")
    words = data[len(_V1_PREFIX) : end - 1].split(b" ")
    family = words[0]
    source = destination = None
    # "The receiver must ignore anything presented before the CRLF is found" (after UNKNOWN).
    if family != b"UNKNOWN":
        if family not in (b"TCP4", b"TCP6") or len(words) != 5:
            raise ProxyProtocolError("version 1: not the line that the specification describes")
        source = (_v1_host(family, words[1]), _v1_port(words[3]))
        destination = (_v1_host(family, words[2]), _v1_port(words[4]))
    return ProxyHeader(1, Command.PROXY, source, destination, end + 1)


def _v1_host(family: bytes, word: bytes) -> str:
    try:
        text = word.decode("ascii")
        if family == b"TCP4":
            return str(IPv4Address(text))
        if "%" in text:  # a zone, which means nothing on another machine
            raise AddressValueError
        return str(IPv6Address(text))
    except (UnicodeDecodeError, AddressValueError):
        raise ProxyProtocolError("version 1: not an address of its family") from None


def _v1_port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > _MAX_PORT:
        raise ProxyProtocolError("version 1: not a port")
    return int(word)


class _Family(Enum):
    """Address family of version 2, and the size of its address block."""

    UNSPEC = 0x0, 0
    INET = 0x1, 12
    INET6 = 0x2, 36
    UNIX = 0x3, 216

    def __init__(self, code: int, size: int) -> None:
        self.code = code
        self.size = size


_FAMILIES = {family.code: family for family in _Family}
_STREAM = 0x1
_MAX_TRANSPORT = 0x2


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) > 12 and (data[12] >> 4 != 2 or data[12] & 0xF > 1):
        raise ProxyProtocolError("version 2: unknown version or command")
    if len(data) < _V2_FIXED:
        return None
    length = int.from_bytes(data[14:16], "big")
    if length > _V2_MAX_LENGTH:
        raise ProxyProtocolError(f"version 2: header longer than {_V2_MAX_LENGTH} bytes")
    end = _V2_FIXED + length
    if len(data) < end:
        return None
    if data[12] & 0xF == Command.LOCAL.value:
        # "must use the real connection endpoints and discard the protocol block"
        return ProxyHeader(2, Command.LOCAL, None, None, end)
    family = _FAMILIES.get(data[13] >> 4)
    transport = data[13] & 0xF
    if family is None or transport > _MAX_TRANSPORT:
        raise ProxyProtocolError("version 2: unknown address family or transport")
    if length < family.size:
        raise ProxyProtocolError("version 2: too short for its addresses")
    source = destination = tls = None
    if family is not _Family.UNSPEC:
        tls = _read_tlvs(data[:end], _V2_FIXED + family.size)
        if transport == _STREAM:
            source, destination = _v2_addresses(family, data[_V2_FIXED:end])
    return ProxyHeader(2, Command.PROXY, source, destination, end, tls)


def _v2_addresses(family: _Family, block: bytes) -> tuple[Address | None, Address | None]:
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    match family:
        case _Family.INET:
            source, destination, ports = IPv4Address(block[:4]), IPv4Address(block[4:8]), 8
        case _Family.INET6:
            source, destination, ports = IPv6Address(block[:16]), IPv6Address(block[16:32]), 32
        case _:
            return None, None
    return (
        (str(source), int.from_bytes(block[ports : ports + 2], "big")),
        (str(destination), int.from_bytes(block[ports + 2 : ports + 4], "big")),
    )


def _read_tlvs(header: bytes, start: int) -> ClientTls | None:
    """Walk the type-length-value vectors: each inside the header, a CRC32c (once) correct.

    Returns: what they say of the client's TLS, None for nothing.
    """
    seen: set[int] = set()
    tls = None
    for kind, value, end in _vectors(header, start, len(header)):
        if kind not in (_CRC32C_TYPE, _SSL_TYPE):
            continue
        # Once each: a second checksum would let a sender buy work, second facts contradict.
        if kind in seen:
            raise ProxyProtocolError("version 2: a TLV that may come once came twice")
        seen.add(kind)
        if kind == _SSL_TYPE:
            tls = _client_tls(header, value, end)
            continue
        if end - value != 4:
            raise ProxyProtocolError("version 2: malformed CRC32c")
        blank = header[:value] + bytes(4) + header[end:]
        if _crc32c(blank) != int.from_bytes(header[value:end], "big"):
            raise ProxyProtocolError("version 2: wrong CRC32c")
    return tls


def _vectors(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield type, beginning and end of the value of each vector. Raises: ProxyProtocolError."""
    at = start
    while at < stop:
        value = at + 3
        if value > stop:
            raise ProxyProtocolError("version 2: a TLV is cut off")
        end = value + int.from_bytes(data[at + 1 : value], "big")
        if end > stop:
            raise ProxyProtocolError("version 2: a TLV is longer than what holds it")
        yield data[at], value, end
        at = end


def _client_tls(header: bytes, start: int, stop: int) -> ClientTls | None:
    """Return what a TLV of the type SSL says: a client with TLS, or None for one without.

    Of a client without TLS nothing further is said, so nothing further is read.
    """
    if stop - start < _SSL_FIXED:
        raise ProxyProtocolError("version 2: a TLV of TLS facts that is too short")
    if not header[start] & _CLIENT_SSL:
        return None
    words: dict[int, str] = {}
    for kind, value, end in _vectors(header, start + _SSL_FIXED, stop):
        if kind in (_SSL_VERSION, _SSL_CIPHER):
            word = header[value:end]
            if kind in words or not _SSL_WORD.fullmatch(word):
                raise ProxyProtocolError("version 2: malformed TLS facts")
            words[kind] = word.decode("ascii")
    return ClientTls(words.get(_SSL_VERSION, ""), words.get(_SSL_CIPHER, ""))


def _crc32c_row(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC32C_TABLE = tuple(_crc32c_row(value) for value in range(256))


def _crc32c(data: bytes) -> int:
    """Return the Castagnoli CRC. Source: RFC 4960 appendix B."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
