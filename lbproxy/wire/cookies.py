"""Cookies and path parameters, read the way identity providers write them.

Lenient where RFC 6265 is strict (spaces, `=` in values, empty pairs, quoted values), because a
provider's cookie that we do not understand is a lost login. A `;` always ends a pair: RFC 6265 has
no quoted semicolons, and every node splits there.

How it is fast: one search for the name finds candidates, and the bytes around each say whether it
is a pair's name. Cookies that hold tokens are thousands of bytes long, and most are not ours.
"""

from __future__ import annotations

_TAB, _SPACE, _QUOTE, _EQUALS, _SEMICOLON = 0x09, 0x20, 0x22, 0x3D, 0x3B
_AMPERSAND, _SLASH, _HASH = 0x26, 0x2F, 0x23


def _value_start(header: bytes, name: bytes, start: int) -> int:
    """Return where the value of the next pair called `name` begins, at `start` or later, or -1."""
    end = len(header)
    length = len(name)
    while True:
        at = header.find(name, start)
        if at < 0:
            return -1
        start = at + 1
        before = at - 1
        while before >= 0 and (header[before] == _SPACE or header[before] == _TAB):
            before -= 1
        if before >= 0 and header[before] != _SEMICOLON:
            continue
        after = at + length
        while after < end and (header[after] == _SPACE or header[after] == _TAB):
            after += 1
        if after < end and header[after] == _EQUALS:
            return after + 1


def _pair_end(header: bytes, start: int) -> int:
    """Return where the pair around `start` ends: at a semicolon or at the end."""
    end = header.find(b";", start)
    return end if end >= 0 else len(header)


def _trimmed(header: bytes, start: int, end: int) -> bytes:
    """Return header[start:end] without spaces around it and without a pair of double quotes."""
    while start < end and (header[start] == _SPACE or header[start] == _TAB):
        start += 1
    while start < end and (header[end - 1] == _SPACE or header[end - 1] == _TAB):
        end -= 1
    if end - start >= 2 and header[start] == _QUOTE and header[end - 1] == _QUOTE:
        start += 1
        end -= 1
    data = header
    return data[start:end]


class CookieName:
    """The name of one cookie, to look for in many Cookie fields: one pass, no search calls."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def values(self, header: bytes) -> list[bytes] | None:
        """Return what `values` returns, None for nothing."""
        octets = header
        name = self.name
        wanted = name
        size = len(header)
        length = len(name)
        found: list[bytes] | None = None
        p = 0
        while p < size:
            while p < size and (octets[p] == _SPACE or octets[p] == _TAB):
                p += 1
            start = p
            i = 0
            while i < length and p < size and octets[p] == wanted[i]:
                p += 1
                i += 1
            if i == length:
                while p < size and (octets[p] == _SPACE or octets[p] == _TAB):
                    p += 1
                if p < size and octets[p] == _EQUALS:
                    start = p + 1
                else:
                    i = 0
            while p < size and octets[p] != _SEMICOLON:
                p += 1
            if i == length:
                value = _trimmed(header, start, p)
                if found is None:
                    found = [value]
                else:
                    found.append(value)
            p += 1
        return found


def find(header: bytes, name: bytes) -> bytes | None:
    """Return the value of the first cookie called `name`, or None.

    Args: header: a Cookie field value; name: case-sensitive, not empty.
    Source: RFC 6265 section 5.4, read leniently (see above).
    """
    start = _value_start(header, name, 0)
    if start < 0:
        return None
    return _trimmed(header, start, _pair_end(header, start))


def values(header: bytes, name: bytes) -> list[bytes]:
    """Return the values of all cookies called `name`, in the order sent.

    Several are usual: the same name under a longer path comes first.
    Args and Source: as `find`.
    """
    found: list[bytes] = []
    start = 0
    while True:
        start = _value_start(header, name, start)
        if start < 0:
            return found
        end = _pair_end(header, start)
        found.append(_trimmed(header, start, end))
        start = end


def without(header: bytes, name: bytes) -> bytes:
    """Return the Cookie field value without the cookies called `name`; may become empty.

    The other pairs stay as they were sent. Without such a cookie it is `header` itself.
    """
    start = _value_start(header, name, 0)
    if start < 0:
        return header
    kept: list[bytes] = []
    done = 0
    while start >= 0:
        begin = header.rfind(b";", 0, start)  # the semicolon before the pair, or -1
        if begin > done:
            kept.append(header[done:begin])
        done = _pair_end(header, start)
        start = _value_start(header, name, done)
    kept.append(header[done:])
    return b"".join(kept).lstrip(b"; \t")


def set_cookie_value(field: bytes, name: bytes) -> bytes | None:
    """Return the value that one Set-Cookie field gives to the cookie `name`, or None.

    Args: field: the field value, attributes included; name: case-sensitive.
    Source: RFC 6265 section 5.2.
    """
    end = _pair_end(field, 0)
    start = _value_start(field, name, 0)
    if start < 0 or start > end:
        return None
    return _trimmed(field, start, end)


def path_parameter(target: bytes, name: bytes) -> list[bytes]:
    """Return the values of `;name=value` parameters anywhere in the target's path.

    Args: target: a request target as sent; its query is not looked at; name: case-sensitive.
    Source: RFC 3986 section 3.3; Java servlet URL rewriting (`;jsessionid=`).
    """
    found: list[bytes] = []
    start = target.find(b";")
    if start < 0:  # nearly always
        return found
    end = target.find(b"?")
    if end < 0:
        end = len(target)
    start = target.find(b";" + name + b"=", start, end)
    while start >= 0:
        start += len(name) + 2
        stop = start
        while stop < end and not (
            target[stop] == _SEMICOLON
            or target[stop] == _SLASH
            or target[stop] == _HASH
            or target[stop] == _AMPERSAND
        ):
            stop += 1
        found.append(target[start:stop])
        start = target.find(b";" + name + b"=", stop, end)
    return found
