"""The container's side of AJP/1.3, written from the protocol alone: reads and answers."""

from __future__ import annotations

from dataclasses import dataclass, field

METHODS = (
    b"OPTIONS GET HEAD POST PUT DELETE TRACE PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK ACL "
    b"REPORT VERSION-CONTROL CHECKIN CHECKOUT UNCHECKOUT SEARCH MKWORKSPACE UPDATE LABEL MERGE "
    b"BASELINE-CONTROL MKACTIVITY"
).split()
REQUEST_NAMES = (
    b"accept accept-charset accept-encoding accept-language authorization connection content-type "
    b"content-length cookie cookie2 host pragma referer user-agent"
).split()
RESPONSE_NAMES = (
    b"Content-Type Content-Language Content-Length Date Last-Modified Location Set-Cookie "
    b"Set-Cookie2 Servlet-Engine Status WWW-Authenticate"
).split()
STRING_ATTRIBUTES = {5: "query", 6: "route", 8: "cipher", 12: "secret", 13: "stored_method"}

Headers = list[tuple[bytes | int, bytes]]  # name or code, value

CPONG = bytes.fromhex("4142000109")
FLUSH = bytes.fromhex("4142000403000000")
END_REUSE = bytes.fromhex("414200020501")
END_CLOSE = bytes.fromhex("414200020500")


class Malformed(Exception):
    """The packet does not follow the protocol."""


@dataclass
class Forward:
    """A FORWARD_REQUEST as a container reads it."""

    method: str = ""
    protocol: bytes = b""
    uri: bytes = b""
    remote_addr: bytes | None = None
    remote_host: bytes | None = None
    server_name: bytes | None = None
    server_port: int = 0
    secure: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    attributes: dict[str, bytes | int] = field(default_factory=dict)


class _Payload:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise Malformed(f"{size} bytes at {self.at}: only {len(piece)}")
        self.at += size
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def maybe_string(self) -> bytes | None:
        size = self.number()
        if size == 0xFFFF:
            return None
        text = self.take(size)
        if self.byte():
            raise Malformed("a string that does not end in zero")
        return text

    def string(self) -> bytes:
        text = self.maybe_string()
        if text is None:
            raise Malformed("null")
        return text


def decode(packet: bytes) -> Forward:
    """Read one whole FORWARD_REQUEST packet. Raises: Malformed."""
    if packet[:2] != b"\x12\x34" or int.from_bytes(packet[2:4], "big") != len(packet) - 4:
        raise Malformed("magic or length")
    payload = _Payload(packet[4:])
    if payload.byte() != 2:
        raise Malformed("not a FORWARD_REQUEST")
    forward = Forward()
    code = payload.byte()
    if code != 0xFF and not 1 <= code <= len(METHODS):
        raise Malformed(f"method {code}")
    forward.protocol = payload.string()
    forward.uri = payload.string()
    forward.remote_addr = payload.maybe_string()
    forward.remote_host = payload.maybe_string()
    forward.server_name = payload.maybe_string()
    forward.server_port = payload.number()
    secure = payload.byte()
    if secure > 1:
        raise Malformed("a boolean")
    forward.secure = bool(secure)
    for _ in range(payload.number()):
        forward.headers.append((_name(payload), payload.string()))
    _read_attributes(payload, forward.attributes)
    if payload.at != len(payload.data):
        raise Malformed("bytes behind the end")
    if code == 0xFF:
        stored = forward.attributes.pop("stored_method", None)
        if not isinstance(stored, bytes) or not stored:
            raise Malformed("a method that is not said")
        forward.method = stored.decode("ascii")
    else:
        forward.method = METHODS[code - 1].decode()
    return forward


def _name(payload: _Payload) -> bytes:
    first = payload.take(1)[0]
    if first:  # as Undertow does: whatever it is, it is taken for a code
        code = payload.byte()
        if first != 0xA0 or not 1 <= code <= len(REQUEST_NAMES):
            raise Malformed(f"name {first:02x}{code:02x}")
        return REQUEST_NAMES[code - 1]
    payload.at -= 1
    name = payload.string()
    if not name:
        raise Malformed("an empty name")
    return name


def _read_attributes(payload: _Payload, attributes: dict[str, bytes | int]) -> None:
    while (code := payload.byte()) != 0xFF:
        value: bytes | int
        if code in STRING_ATTRIBUTES:
            name, value = STRING_ATTRIBUTES[code], payload.string()
        elif code == 0x0B:
            name, value = "key_size", payload.number()
        elif code == 0x0A:
            name, value = payload.string().decode("ascii"), payload.string()
        else:
            raise Malformed(f"attribute {code:02x}")
        if name in attributes:
            raise Malformed(f"{name} twice")
        attributes[name] = value


def packet(payload: bytes) -> bytes:
    """Return a packet of the container."""
    return b"AB" + len(payload).to_bytes(2, "big") + payload


def string(text: bytes) -> bytes:
    """Return a string of AJP."""
    return len(text).to_bytes(2, "big") + text + b"\x00"


def send_headers(status: int, headers: Headers, reason: bytes | None = b"") -> bytes:
    """Return SEND_HEADERS. Args: headers: name or code, value; reason: None for null."""
    parts = [b"\x04", status.to_bytes(2, "big")]
    parts.append(b"\xff\xff" if reason is None else string(reason))
    parts.append(len(headers).to_bytes(2, "big"))
    for name, value in headers:
        parts.append(bytes((0xA0, name)) if isinstance(name, int) else string(name))
        parts.append(string(value))
    return packet(b"".join(parts))


def send_body(data: bytes) -> bytes:
    """Return SEND_BODY_CHUNK."""
    return packet(b"\x03" + string(data))


def get_body(size: int) -> bytes:
    """Return GET_BODY_CHUNK."""
    return packet(b"\x06" + size.to_bytes(2, "big"))
