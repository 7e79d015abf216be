"""Advertisements of mod_cluster: the datagram by which nodes find the proxy.

`render` writes ours. `judge` says what a node makes of any datagram, by the rules of the node's own
listener; some datagrams end that listener for good, so what is rendered must never be near one.

Source: MCMP reference, section 9. Addresses are always literals: a node that cannot resolve a name
at that moment would not take later datagrams either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from uuid import UUID

GROUP = "224.0.1.105"
PORT = 23364
MAX_DATAGRAM = 512  # the node's buffer; it never sees what follows
_MAX_PORT = 65535
MAX_SEQUENCE = 2**63 - 1  # fits a signed long wherever it is read; at one a second, without end

# Names of the system's locale must not get in, so no strftime with %a or %b.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MIN_STATUS = 100


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What all datagrams of one sender say.

    Args: server: new at each start, and whenever the address changes, for nodes act on an id once;
    address: a literal without brackets that nodes can reach; port: 1..65535; scheme: http or
    https, which nodes ignore. Raises: ValueError for an address that no node could use.
    """

    server: UUID
    address: str
    port: int
    scheme: str = "http"

    def __post_init__(self) -> None:
        flaw = unreachable(ip_address(self.address))
        if flaw is not None:
            raise ValueError(f"{self.address} cannot be advertised: {flaw}")
        if not 0 < self.port <= _MAX_PORT:
            raise ValueError(f"port {self.port} cannot be advertised")
        if self.scheme not in ("http", "https"):
            raise ValueError(f"scheme {self.scheme!r} cannot be advertised")

    @property
    def manager(self) -> str:
        """Address and port as they are written, IPv6 in brackets."""
        return manager(self.address, self.port)


def manager(address: str, port: int) -> str:
    """Return address and port as datagrams hold them, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def unreachable(address: IPv4Address | IPv6Address) -> str | None:
    """Return why no other machine could come to this address, None if one could."""
    if address.is_unspecified:
        return "it stands without endy address of this machine"
    if address.is_multicast or address == IPv4Address("255.255.255.255"):
        return "it is no machine's own"
    if isinstance(address, IPv6Address) and (address.scope_id or address.is_link_local):
        return "it means something only with a zone, which differs from machine to machine"
    return None


def salt(key: bytes | None) -> bytes:
    """Return what goes before the fields in a digest. Args: key: ASCII; None without one."""
    if key is None:
        return bytes(16)
    return hashlib.md5(key, usedforsecurity=False).digest()


def digest(salted: bytes, date: str, sequence: str, server: str) -> str:
    """Return the Digest of these values, as a node works it out. Args: salted: of `salt`."""
    text = (date + sequence + server).encode("latin-1")
    values = bytes(byte if byte < 127 else 0x3F for byte in text)  # as the node does
    return hashlib.md5(salted + values, usedforsecurity=False).hexdigest()


def http_date(seconds: float) -> str:
    """Return a Date, English in every locale. Args: seconds: since 1970."""
    at = datetime.fromtimestamp(seconds, UTC)
    day = f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04}"
    return f"{day} {at:%H:%M:%S} GMT"


def render(advertisement: Advertisement, sequence: int, seconds: float, salted: bytes) -> bytes:
    """Return one datagram, at most MAX_DATAGRAM bytes.

    Args: sequence: counts up, 0..MAX_SEQUENCE; seconds: since 1970; salted: of `salt`.
    Raises: ValueError for a sequence out of range.
    """
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise ValueError(f"sequence {sequence} is out of range")
    server, date, number = str(advertisement.server), http_date(seconds), str(sequence)
    # Server before the address, or nodes throw the address away.
    fields = (
        ("Date", date),
        ("Sequence", number),
        ("Digest", digest(salted, date, number, server)),
        ("Server", server),
        ("X-Manager-Address", advertisement.manager),
        ("X-Manager-Url", f"/{server}"),
        ("X-Manager-Protocol", advertisement.scheme),
        ("X-Manager-Host", advertisement.address),
    )
    lines = ("HTTP/1.0 200 OK", *(f"{name}: {value}" for name, value in fields), "", "")
    return "\r\n".join(lines).encode("ascii")


_NOTHING: Mapping[str, str] = {}


class Reaction(Enum):
    """What a node does with a datagram."""

    REGISTERS = "registers"
    KNOWS = "knows"  # the id, and has acted on it before
    IGNORES = "ignores"
    WASTES = "wastes"  # remembers the id without an address: later good ones are ignored
    BREAKS = "breaks"  # its listener ends by an exception; it never discovers anything again


@dataclass(frozen=True, slots=True)
class Judgement:
    """Reaction and reason.

    Args: server, address, port: as far as the datagram said so; address without brackets.
    """

    reaction: Reaction
    reason: str
    server: str = ""
    address: str = ""
    port: int = 0

    @property
    def accepted(self) -> bool:
        """True if a node comes to the address that it first heard with this id."""
        return self.reaction in (Reaction.REGISTERS, Reaction.KNOWS)


@dataclass(frozen=True, slots=True)
class _Read:
    """What a node has read of a datagram. Args: status: 0 if the first line has none."""

    status: int
    date: str | None = None
    sequence: str | None = None
    digest: str | None = None
    server: str | None = None
    manager: str | None = None


def judge(datagram: bytes, salted: bytes, known: Mapping[str, str] = _NOTHING) -> Judgement:
    """Return what a node makes of a datagram.

    Args: salted: of the node's key; known: ids that it has seen, with the address and port that
    came first, or nothing if that was of no use. Never raises.
    """
    text = datagram[:MAX_DATAGRAM].decode("latin-1")
    if not text.startswith("HTTP/1."):
        return Judgement(Reaction.IGNORES, "it does not begin with HTTP/1.")
    lines = text.split("\r\n")
    parts = lines[0].split(" ", 2)
    if len(parts) < 3:  # the node reads no further, and knows no Server then
        return Judgement(Reaction.IGNORES, "its first line has no reason phrase")
    status = _java_int(parts[1])
    if status is None:
        return Judgement(Reaction.BREAKS, f"status {parts[1]!r} is no number")
    if status < _MIN_STATUS:
        return Judgement(Reaction.IGNORES, f"status {status} is below {_MIN_STATUS}")
    return _decide(_fields(status, lines[1:]), salted, known, len(datagram) > MAX_DATAGRAM)


def _fields(status: int, lines: list[str]) -> _Read:
    values: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition(": ")
        if not separator:
            break  # the rest is not read
        if name == "Server":
            values.pop("X-Manager-Address", None)  # begins another server without one
        elif name == "X-Manager-Address" and "Server" not in values:
            continue
        values[name] = value
    return _Read(
        status,
        values.get("Date"),
        values.get("Sequence"),
        values.get("Digest"),
        values.get("Server"),
        values.get("X-Manager-Address"),
    )


def _decide(read: _Read, salted: bytes, known: Mapping[str, str], cut: bool) -> Judgement:
    tail = f"; only its first {MAX_DATAGRAM} bytes are read" if cut else ""
    server = read.server
    if server is None:
        return Judgement(Reaction.IGNORES, f"it has no Server{tail}")
    if read.date is None or read.sequence is None or read.digest is None:
        named = (("Date", read.date), ("Sequence", read.sequence), ("Digest", read.digest))
        missing = ", ".join(name for name, value in named if value is None)
        return Judgement(Reaction.BREAKS, f"it has no {missing}{tail}", server)
    if read.digest.lower() != digest(salted, read.date, read.sequence, server):
        return Judgement(Reaction.IGNORES, "its digest does not fit the key", server)
    if server in known:
        return _again(server, read.manager, known[server])
    if read.manager is None:
        reason = f"it has no X-Manager-Address after Server{tail}"
        return Judgement(Reaction.WASTES, reason, server)
    address, port = _split(read.manager)
    if port is None:
        return Judgement(Reaction.BREAKS, f"{read.manager!r} cannot be read", server, address)
    return _usable(server, address, port)


def _again(server: str, said: str | None, first: str) -> Judgement:
    address, port = ("", 0) if said is None else _split(said)
    if not first:
        reaction, reason = Reaction.IGNORES, "its id came before, without an address of use"
    elif said == first:
        reaction, reason = Reaction.KNOWS, "its id and address came before"
    else:
        reaction, reason = Reaction.KNOWS, f"its id came before with {first}, which stays"
    return Judgement(reaction, reason, server, address, port or 0)


def _usable(server: str, address: str, port: int) -> Judgement:
    if port > _MAX_PORT or port < 0:
        return Judgement(Reaction.BREAKS, f"there is no port {port}", server, address, port)
    try:
        ip = ip_address(address)
    except ValueError:
        reason = f"{address!r} is no literal address; it counts only if it resolves at once"
        return Judgement(Reaction.WASTES, reason, server, address, port)
    flaw = unreachable(ip)
    if flaw is None and not port:
        flaw = "it has no port"
    if flaw is not None:
        return Judgement(Reaction.WASTES, f"{address}: {flaw}", server, address, port)
    return Judgement(Reaction.REGISTERS, "it is new and complete", server, address, port)


def _split(value: str) -> tuple[str, int | None]:
    """Return address and port as a node splits them; None if that throws."""
    colon = value.rfind(":")
    if colon < 0:
        return value, 0
    if value.find(":") == colon:
        return value[:colon], _java_int(value[colon + 1 :])
    opening, closing = value.find("["), value.find("]")
    if opening < 0 or closing < 0:
        return value, 0
    if closing < opening:
        return value, None
    port = _java_int(value[colon + 1 :]) if closing < colon else 0
    return value[opening + 1 : closing], port


def _java_int(text: str) -> int | None:
    """Return the number that Java's Integer.parseInt reads, None if it throws."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        return None
    number = int(text)
    return number if -(2**31) <= number < 2**31 else None
