"""Takes the session's id out of a request: cookies and path parameters, as nodes read them.

For requests that fail over to a node which does not know the session and shall not be asked to
look for it (MCMP reference, section 6.2, StickySessionRemove).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lbproxy.wire.cookies import without

_COOKIE = b"cookie:"


def without_session(request: bytes, cookies: Iterable[bytes], parameters: Iterable[bytes]) -> bytes:
    """Return a request head without these cookies and path parameters; the rest as it is.

    Args: request: request line, field lines and the empty line, each with CRLF; cookies,
    parameters: names, case-sensitive. Never raises.
    """
    first, *lines = request.split(b"\r\n")
    method, _, rest = first.partition(b" ")
    target, _, version = rest.partition(b" ")
    for name in parameters:
        target = without_parameter(target, name)
    kept = [b" ".join((method, target, version))]
    names = tuple(cookies)
    for line in lines:
        if line[: len(_COOKIE)].lower() == _COOKIE:
            value = line[len(_COOKIE) :]
            for name in names:
                value = without(value, name)
            if not value.strip():
                continue
            line = line[: len(_COOKIE)] + b" " + value.lstrip()
        kept.append(line)
    return b"\r\n".join(kept)


def without_parameter(target: bytes, name: bytes) -> bytes:
    """Return a request target without the `;name=value` parameters of its path.

    A value ends where its segment or the next parameter begins: `&` is part of it for a node.
    Args: name: case-sensitive. Source: RFC 3986 section 3.3.
    """
    path, question, query = target.partition(b"?")
    if b";" not in path:
        return target
    return re.sub(rb";" + re.escape(name) + rb"=[^;/]*", b"", path) + question + query
