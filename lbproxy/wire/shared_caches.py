"""Which answers a cache that serves many clients keeps, by what their fields allow.

A field that is meant for one client, such as our own affinity cookie, must not be on them: the
cache would hand it to everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import parsedate_to_datetime

from lbproxy.wire.fields import find_values

# RFC 9213: what a cache goes by in place of Cache-Control if it knows them.
_TARGETED = (b"cdn-cache-control", b"surrogate-control")


def kept_by_shared_caches(parts: Iterable[bytes], now: float) -> bool:
    """Return True if an answer says itself that a shared cache may keep it.

    That is `public`, `s-maxage` or `max-age` above 0, or, if no Cache-Control is there, Expires
    in the future; and neither `private` nor `no-store` beside it. An answer that says nothing is
    not meant, although RFC 9111 lets caches guess: nearly every page of a login is like that.

    Args: parts: runs of well-formed field lines; now: in Unix seconds.
    Source: RFC 9111 sections 3 and 5.2.2.
    """
    parts = tuple(parts)
    for name in _TARGETED:
        if _permits(_directives(find_values(parts, name))):
            return True
    directives = _directives(find_values(parts, b"cache-control"))
    if directives:
        return _permits(directives)
    expires = find_values(parts, b"expires")
    return bool(expires) and _time(expires[0]) > now


def _directives(values: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the directives with their arguments, in lower case. A comma within quotes splits as
    well: what is made of the rest has no name that means anything here."""
    found: dict[bytes, bytes] = {}
    for value in values:
        for member in value.lower().split(b","):
            name, _, argument = member.partition(b"=")
            if name.strip(b" \t"):
                found[name.strip(b" \t")] = argument.strip(b' \t"')
    return found


def _permits(directives: dict[bytes, bytes]) -> bool:
    if b"private" in directives or b"no-store" in directives:
        return False
    if b"public" in directives:
        return True
    age = directives.get(b"s-maxage", directives.get(b"max-age", b""))
    return age.isdigit() and age.strip(b"0") != b""


def _time(value: bytes) -> float:
    """Return an HTTP date in Unix seconds, 0 for anything else."""
    try:
        return parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
