"""What request and response heads of HTTP/1.0 and 1.1 share (RFC 9112).

A head is kept as *parts*: the runs of lines that go on to the other side byte for byte. What must
not go on (hop-by-hop fields, framing, forwarded fields of strangers) is left out while parsing;
the one that renders the head joins the parts and adds its own lines. Framing is never passed on as
received: Content-Length is a checked number, Transfer-Encoding is written again.

Where two parsers could read a head differently it is refused (`BadHead`), never repaired:
Content-Length with Transfer-Encoding, repeated or listed Content-Length, any coding but one
`chunked`, bare CR or LF, folded lines, spaces before a colon, NUL, none or two Hosts.
Bodies are in `http1_body`.
"""

from __future__ import annotations

# What `length` means if it is not a number of bytes.
NO_BODY = 0
CHUNKED = -2
UNTIL_CLOSE = -3

GET, HEAD, POST, OPTIONS, PUT, DELETE, OTHER = 1, 2, 3, 4, 5, 6, 0

# Fields that a peer may not remove by naming them in Connection: the message would change its
# meaning, or the node would miss what it decides by. Such a request is refused.
NOT_NOMINABLE = frozenset(
    (
        b"authorization",
        b"content-length",
        b"cookie",
        b"expect",
        b"host",
        b"set-cookie",
        b"transfer-encoding",
    )
)


class HeadLimits:
    """Bounds on a head.

    Args: line: bytes of the first line without its CRLF; head: bytes of the whole with the empty
    line; fields: how many, those that do not go on included.
    """

    def __init__(self, line: int, head: int, fields: int) -> None:
        self.line = line
        self.head = head
        self.fields = fields
