"""What lbproxy and h11 make of the same bytes, and whether both readings agree.

The rule: whatever lbproxy accepts, h11 accepts with the same meaning and the same end. The
exceptions are written where they are made. What h11 accepts and lbproxy refuses is no difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11
from h11._connection import _body_framing

from lbproxy.wire.fields import BadHead, DropRules
from lbproxy.wire.http1_body import BodyLimits, ChunkedReader
from lbproxy.wire.http1_head import CHUNKED, OPTIONS, UNTIL_CLOSE, HeadLimits
from lbproxy.wire.http1_request import RequestParser
from lbproxy.wire.http1_response import ResponseHead, ResponseParser
from lbproxy.wire.request_head import RequestHead

DROPS = DropRules((b"forwarded", b"x-real-ip"), (b"x-forwarded-",))
LIMITS = HeadLimits(8 << 10, 64 << 10, 128)
BODY_LIMITS = BodyLimits(256, 8 << 10, 128)
MAX_EVENT = 1 << 20  # h11's own limits are not what is compared

REQUESTS = RequestParser(LIMITS, DROPS)
RESPONSES = ResponseParser(LIMITS)

# Fields that never go on (RFC 9110 section 7.6.1 and the house's own).
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding trailer upgrade".split()
)
_REQUEST_ONLY = frozenset(b"http2-settings te proxy-authorization x-request-id".split())

Fields = list[tuple[bytes, bytes]]
Framing = int | str  # a length, "chunked" or "close"


@dataclass(frozen=True, slots=True)
class Refused:
    """Not accepted; Args: reason: lbproxy's, or h11's words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Head:
    """Args: line: what the first line says; rest: what stands behind the head."""

    line: tuple[bytes, ...]
    fields: Fields
    framing: Framing
    rest: bytes


def _framing(length: int) -> Framing:
    return {CHUNKED: "chunked", UNTIL_CLOSE: "close"}.get(length, length)


def _of_h11(framing: tuple[str, tuple[int, ...]]) -> Framing:
    kind, arguments = framing
    if kind == "content-length":
        return arguments[0]
    return "chunked" if kind == "chunked" else "close"


def our_request(data: bytes) -> RequestHead | Refused | None:
    """Return lbproxy's reading; None where more bytes are needed."""
    try:
        return REQUESTS.parse(data, 0, False)
    except BadHead as error:
        return Refused(error.failure.reason)


def h11_request(data: bytes) -> Head | Refused | None:
    """Return h11's reading of a request; None where more bytes are needed."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_EVENT)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return Refused(str(error))
    if not isinstance(event, h11.Request):
        return None
    return Head(
        (event.method, event.target, event.http_version),
        list(event.headers),
        _of_h11(_body_framing(event.method, event)),
        connection.trailing_data[0],
    )


def our_response(data: bytes, method_id: int) -> ResponseHead | Refused | None:
    """Return lbproxy's reading of an answer to a request of `method_id`."""
    try:
        return RESPONSES.parse(data, 0, method_id, True)
    except BadHead as error:
        return Refused(error.failure.reason)


def h11_response(data: bytes, method: bytes) -> Head | Refused | None:
    """Return h11's reading of an answer to a request of `method`."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_EVENT)
    offer = [(b"Host", b"a"), (b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
    connection.send(h11.Request(method=method, target=b"/", headers=offer))
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return Refused(str(error))
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        return None
    framing: Framing = 0
    if isinstance(event, h11.Response):
        framing = _of_h11(_body_framing(method, event))
    return Head(
        (b"%d" % event.status_code, event.reason, event.http_version),
        list(event.headers),
        framing,
        connection.trailing_data[0],
    )


def _nominated(fields: Fields) -> set[bytes]:
    return {
        member.strip().lower()
        for name, value in fields
        if name == b"connection"
        for member in value.split(b",")
    }


def render_request(head: RequestHead) -> bytes:
    """Return the bytes that a node gets, forwarded fields apart."""
    framing = b"Transfer-Encoding: chunked\r\n" if head.length == CHUNKED else b""
    host = b"" if head.authority else b"Host: pool\r\n"  # HTTP/1.0 needs none; we send 1.1
    return b"".join(head.parts) + host + framing + b"\r\n"


def _expected_by_the_node(read: Head, head: RequestHead, absolute: bool) -> Fields:
    dropped = _HOP_BY_HOP | _REQUEST_ONLY | _nominated(read.fields)
    if absolute:
        dropped |= {b"host"}
    if head.http10:
        dropped |= {b"expect"}
    kept = [
        (name, value)
        for name, value in read.fields
        if name not in dropped and not DROPS.matches(name)
    ]
    if not absolute:
        # Exception 4: an empty port is left out (RFC 3986 section 6.2.3).
        kept = [(k, v.removesuffix(b":") if k == b"host" else v) for k, v in kept]
    if head.method_id == OPTIONS:
        # Exception 5: one less at each proxy (RFC 9110 section 7.6.2).
        kept = [(k, b"%d" % (int(v) - 1) if k == b"max-forwards" else v) for k, v in kept]
    if absolute or not head.authority:
        kept.append((b"host", head.authority or b"pool"))
    if head.length == CHUNKED:
        kept.append((b"transfer-encoding", b"chunked"))
    return kept


def _length_last(fields: Fields, *, respell: bool = False) -> Fields:
    """Return the fields with Content-Length and what else lbproxy may write anew behind the others.
    Args: respell: lengths in their usual spelling."""
    moved = (b"max-forwards", b"host", b"content-length")
    last = [(key, value) for name in moved for key, value in fields if key == name]
    if respell:
        last = [(k, b"%d" % int(v) if k == b"content-length" else v) for k, v in last]
    return [each for each in fields if each[0] not in moved] + last


# RFC 3986 appendix B, without a fragment: authority, path, query.
_ABSOLUTE = re.compile(rb"[^:/?#]+://([^/?#]*)([^?#]*)((?:\?[^#]*)?)")


def _in_parts(target: bytes, method_id: int) -> tuple[bytes, bytes] | None:
    """Return Host and target of the next request for one in absolute form, None if it is none."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return None
    authority, path, query = match.groups()
    # RFC 9112 sections 3.2.1 and 3.2.4: what an empty path becomes.
    empty = b"*" if method_id == OPTIONS and not query else b"/"
    # Exception 4: an empty port is left out (RFC 3986 section 6.2.3).
    return authority.removesuffix(b":"), (path or empty) + query


def compare_request(data: bytes) -> str | None:
    """Return how the two readings of a request differ, or None where they agree."""
    head = our_request(data)
    if head is None or isinstance(head, Refused):
        return None
    # Exception 1: one empty line before the request is ignored (RFC 9112 section 2.2); h11 refuses.
    whole = data[2:] if data.startswith(b"\r\n") else data
    read = h11_request(whole)
    if not isinstance(read, Head):
        return f"accepted; h11: {read}"
    method, target, version = read.line
    # Exception 2: absolute form becomes Host and origin form (RFC 9112 section 3.2.2).
    absolute = not target.startswith(b"/") and b"://" in target and not head.refused_method
    ours = (head.method, b"1.0" if head.http10 else b"1.1")
    if ours != (method, version):
        return f"method or version: {ours} {read.line}"
    if not absolute and head.target != target:
        return f"target: {head.target!r} {target!r}"
    if absolute and (head.authority, head.target) != _in_parts(target, head.method_id):
        return f"absolute target: {head.authority!r} {head.target!r} {target!r}"
    if _framing(head.length) != read.framing:
        return f"framing: {head.length} {read.framing}"
    if data[head.end :] != read.rest:
        return f"end of the head: {data[head.end :]!r} {read.rest!r}"
    if head.refused_method or head.max_forwards == 0:
        return None  # answered by lbproxy itself, never rendered
    sent = render_request(head)
    node = h11_request(sent)
    if not isinstance(node, Head):
        return f"rendered {sent!r}; h11: {node}"
    if node.line != (method, head.target, b"1.1") or node.rest or node.framing != read.framing:
        return f"rendered {sent!r}: {node}"
    expected = _expected_by_the_node(read, head, absolute)
    if _length_last(node.fields) != _length_last(expected, respell=True):
        return f"rendered fields: {node.fields} expected {expected}"
    again = our_request(sent)
    if not isinstance(again, RequestHead) or again.length != head.length:
        return f"rendered {sent!r} is read again as {again}"
    return None


_SPACED = re.compile(rb"(?m)^([!#-'*+.^-z|~0-9A-Z-]+)[ \t]+:")


_FRAMING = {b"transfer-encoding", b"content-length"}


def _bodiless(head: ResponseHead) -> bool:
    return head.status < 200 or head.status in (204, 304)


def _says_a_length(head: ResponseHead) -> str | None:
    sent = b"".join(head.parts)
    names = {line.partition(b":")[0].lower() for line in sent.split(b"\r\n")[1:]}
    wrong = names & ({b"transfer-encoding"} if head.status == 304 else _FRAMING)
    return f"a body where there is none: {sent!r}" if wrong else None


def compare_response(data: bytes, method: bytes, method_id: int) -> str | None:
    """Return how the two readings of an answer differ, or None where they agree."""
    head = our_response(data, method_id)
    if head is None or isinstance(head, Refused):
        return None
    read = h11_response(data, method)
    if not isinstance(read, Head) and _bodiless(head):
        # Exception 6: what such an answer says of its length means nothing (RFC 9112 section 6.3).
        return _says_a_length(head)
    if not isinstance(read, Head):
        # Exception 7: white space behind a name is left out (RFC 9112 section 5.1); h11 refuses.
        data = _SPACED.sub(rb"\1:", data)
        read = h11_response(data, method)
        head = our_response(data, method_id)
        assert isinstance(head, ResponseHead)
    if not isinstance(read, Head):
        return f"accepted; h11: {read}"
    status = b"%d" % head.status
    if (status, b"1.0" if head.http10 else b"1.1") != (read.line[0], read.line[2]):
        return f"status or version: {head.status} {read.line}"
    if _framing(head.length) != read.framing:
        return f"framing: {head.length} {read.framing}"
    if data[head.end :] != read.rest:
        return f"end of the head: {data[head.end :]!r} {read.rest!r}"
    sent = b"".join(head.parts)
    if head.length == CHUNKED:
        sent += b"Transfer-Encoding: chunked\r\n"
    sent += b"\r\n"
    client = h11_response(sent, method)
    if not isinstance(client, Head):
        return f"rendered {sent!r}; h11: {client}"
    if client.line != (*read.line[:2], b"1.1") or client.rest or client.framing != read.framing:
        return f"rendered {sent!r}: {client}"
    dropped = _HOP_BY_HOP | _nominated(read.fields)
    got = client.fields
    if _bodiless(head):
        # Exception 6, for those that h11 reads all the same.
        dropped |= {b"content-length"}
        got = [field for field in got if field[0] != b"content-length"]
    expected = [field for field in read.fields if field[0] not in dropped]
    if head.length == CHUNKED:
        expected.append((b"transfer-encoding", b"chunked"))
    if _length_last(got) != _length_last(expected, respell=True):
        return f"rendered fields: {client.fields} expected {expected}"
    return None


_CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def compare_body(data: bytes) -> str | None:
    """Return how the two readings of a chunked body differ, or None where they agree."""
    reader = ChunkedReader(BODY_LIMITS, DROPS)
    try:
        payload = reader.feed(data, 0)
    except BadHead:
        return None
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_EVENT)
    connection.receive_data(_CHUNKED_POST + data)
    read = b""
    ended = False
    try:
        connection.next_event()
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                read += event.data
            else:
                ended = isinstance(event, h11.EndOfMessage)
                break
    except h11.RemoteProtocolError as error:
        # Exception 3: framing fields in trailers are dropped unread; h11 looks into them.
        in_trailers = any(word in str(error) for word in ("Content-Length", "Transfer-Encoding"))
        if not in_trailers and (reader.done or payload != read):
            return f"accepted {payload!r} after {read!r}; h11: {error}"
        return None
    if payload != read or reader.done != ended:
        return f"payload {payload!r} {reader.done}; h11: {read!r} {ended}"
    if ended and data[reader.position :] != connection.trailing_data[0]:
        return f"end: {data[reader.position :]!r} {connection.trailing_data[0]!r}"
    return None
