"""Editors of heads: they take lines out of the runs that a head is kept as, or put others there.

A run holds whole, well-formed lines, each with CRLF (see `http1_head`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from lbproxy.errors import Failure
from lbproxy.wire.cookies import without
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_head import NOT_NOMINABLE
from lbproxy.wire.request_head import RequestHead

_LINE_END = b"\r\n"
_COOKIE = b"cookie:"


def without_lines(run: bytes, names: AbstractSet[bytes]) -> bytes:
    """Return a run without the fields of these names (lower case)."""
    kept: list[bytes] = []
    for line in run.split(_LINE_END):
        if line and line[: line.find(b":")].lower() not in names:
            kept.append(line + _LINE_END)
    return b"".join(kept)


def without_nominated(
    parts: list[bytes], nominated: AbstractSet[bytes], malformed: Failure
) -> None:
    """Take out what Connection names: it is meant for this hop alone (RFC 9110 section 7.6.1).

    Raises: BadHead: `malformed` if it names what no peer may remove.
    """
    if not nominated.isdisjoint(NOT_NOMINABLE):
        raise BadHead(malformed, "Connection names a field that is not hop-by-hop")
    for index, run in enumerate(parts):
        parts[index] = without_lines(run, nominated)


def replace_cookies(parts: list[bytes], lines: Mapping[bytes, bytes]) -> None:
    """Put other lines (with CRLF, or empty) where Cookie lines stand, by the values of those."""
    for index, run in enumerate(parts):
        kept: list[bytes] = []
        for line in run.split(_LINE_END):
            if not line:
                continue
            new = None
            if _is_cookie(line):
                new = lines.get(line[len(_COOKIE) :].strip(b" \t"))
            kept.append(line + _LINE_END if new is None else new)
        parts[index] = b"".join(kept)


def without_session(
    head: RequestHead, cookies: Iterable[bytes], parameters: Iterable[bytes]
) -> None:
    """Take a session's id out of a request: cookies and path parameters, as nodes read them.

    For requests that fail over to a node which does not know the session and must not look for it
    (MCMP reference, section 6.2, StickySessionRemove). `path` stays as asked.
    Args: cookies, parameters: names, case-sensitive. Never raises.
    """
    target = head.target
    for name in parameters:
        target = without_parameter(target, name)
    if target != head.target:
        _replace_target(head, target)
    names = tuple(cookies)
    for index, run in enumerate(head.parts):
        kept: list[bytes] = []
        for line in run.split(_LINE_END):
            rest = _without_cookies(line, names) if _is_cookie(line) else line
            if rest:
                kept.append(rest + _LINE_END)
        head.parts[index] = b"".join(kept)


def without_parameter(target: bytes, name: bytes) -> bytes:
    """Return a request target without the `;name=value` parameters of its path.

    A value ends where its segment or the next parameter begins: `&` is part of it for a node.
    Args: name: case-sensitive. Source: RFC 3986 section 3.3.
    """
    path, question, query = target.partition(b"?")
    if b";" not in path:
        return target
    return re.sub(rb";" + re.escape(name) + rb"=[^;/]*", b"", path) + question + query


def _is_cookie(line: bytes) -> bool:
    return line[: len(_COOKIE)].lower() == _COOKIE


def _without_cookies(line: bytes, names: tuple[bytes, ...]) -> bytes:
    """Return a Cookie line without these cookies, empty if none is left."""
    value = line[len(_COOKIE) :]
    for name in names:
        value = without(value, name)
    if not value.strip():
        return b""
    return line[: len(_COOKIE)] + b" " + value.lstrip()


def _replace_target(head: RequestHead, target: bytes) -> None:
    line = head.method + b" " + target + b" HTTP/1.1\r\n"
    head.parts[0] = line + head.parts[0][head.line_size :]
    head.line_size = len(line)
    head.asked = head.asked or head.target
    head.target = target
