"""AJP/1.3 (Apache JServ Protocol), what both directions share: codes, fixed packets, data packets.

lbproxy plays the web server, the node is the container. A packet is `12 34` (to the node) or `AB`
(from it), the payload's length as two bytes, and the payload; every integer is big-endian. A string
is its length as two bytes, the bytes, and a zero byte that does not count; `FF FF` alone is null.

AJP has no TLS, and anyone who reaches the port may claim to be anybody. So what a client sends only
ever becomes a value: codes and attribute names come from the tables here and in `ajp13_request`.

Source: the description in Apache Tomcat Connectors (`ajpv13a`), and what Tomcat and Undertow do.
"""

from __future__ import annotations

# What a packet may hold, header included, unless both sides are configured alike (packetSize).
DEFAULT_PACKET_SIZE = 8192
MAX_PACKET_SIZE = 65536
# Of a data packet: magic, length of the payload, length of the data.
DATA_OVERHEAD = 6

CPING = b"\x12\x34\x00\x01\x0a"
CPONG = b"AB\x00\x01\x09"
# The end of a request's body, also if the node asks for more than there is.
EMPTY_PACKET = b"\x12\x34\x00\x00"

# Codes 1 to 27. Any other method goes by name (stored_method).
METHODS = {
    name: code
    for code, name in enumerate(
        b"OPTIONS GET HEAD POST PUT DELETE TRACE PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK "
        b"ACL REPORT VERSION-CONTROL CHECKIN CHECKOUT UNCHECKOUT SEARCH MKWORKSPACE UPDATE LABEL "
        b"MERGE BASELINE-CONTROL MKACTIVITY".split(),
        start=1,
    )
}
# Codes A001 to A00E of request fields; that of Connection is not used.
REQUEST_CODES = {
    name: code
    for code, name in enumerate(
        b"accept accept-charset accept-encoding accept-language authorization connection "
        b"content-type content-length cookie cookie2 host pragma referer user-agent".split(),
        start=1,
    )
}
# Codes A001 to A00B of response fields, as they are written for a client.
RESPONSE_NAMES = (
    b"Content-Type: ",
    b"Content-Language: ",
    b"Content-Length: ",
    b"Date: ",
    b"Last-Modified: ",
    b"Location: ",
    b"Set-Cookie: ",
    b"Set-Cookie2: ",
    b"Servlet-Engine: ",
    b"Status: ",
    b"WWW-Authenticate: ",
)

_HEAD = bytearray(b"\x12\x34\x00\x00\x00\x00")


def data_packet(payload: bytes, position: int, size: int) -> bytes:
    """Return a piece of a request's body as one packet.

    Args: position, size: which bytes of `payload`; at most packet size - DATA_OVERHEAD of them,
    and no more than the node asked for (the first packet: than were announced). At least one: an
    empty packet ends the body.
    Raises: ValueError if there is no such piece.
    """
    n = len(payload)
    if size < 1 or size > MAX_PACKET_SIZE - DATA_OVERHEAD or position < 0 or position > n - size:
        raise ValueError("a data packet holds 1 to 65530 bytes of its payload")
    out = _HEAD
    head = _HEAD
    data = payload
    out[2] = (size + 2) >> 8
    out[3] = (size + 2) & 255
    out[4] = size >> 8
    out[5] = size & 255
    if size == n:
        return bytes(head[:6]) + payload
    return bytes(head[:6]) + data[position : position + size]
