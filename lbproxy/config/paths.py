"""Every reading of a request path that a node could take, and what outsiders may not reach.

lbproxy forwards a path byte for byte, so the node decides what it means, and nodes differ: they
decode percent escapes once or twice, drop `;parameters` before or after resolving dot segments,
merge slashes, take a backslash for a slash, or none of these. A rule such as "hide /admin" must
hold for the reading that the node takes, which is not known here. So it is asked of all of them:

- `readings` applies each of these steps to the path and to every result, in every order;
- a path is hidden if any reading is (or if any reading lies outside of what is exposed);
- what no honest client sends is refused: broken escapes, encoded control bytes, overlong UTF-8,
  more than MAX_READINGS readings, and any reading that climbs above the root.

That some readings are nonsense for a given node costs an honest client nothing: its paths are
plain, or differ in one escape. Plain paths, nearly all of them, have one reading and take one
pass of `plain`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import unquote_to_bytes

# Two escapes and a parameter make a dozen; whoever needs more is trying doors.
MAX_READINGS = 48
# A filter and the application behind it may each decode once; a third time was not met.
MAX_DECODES = 2
# A tenant and an organisation of it make two; each more costs a look at every hidden prefix.
MAX_TENANTS = 16

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# Bytes that only an overlong form holds (RFC 3629 section 3): 0xC0 0xAF would be another slash.
_OVERLONG = re.compile(rb"[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_PARAMETERS = re.compile(rb";[^/]*")
_SLASHES = re.compile(rb"/{2,}")
_DOT_SEGMENT = re.compile(rb"/\.{1,2}(?:/|\Z)")
_END_OF_PATH = re.compile(rb"[?#]")
# The two letters that are an i only to some who ignore case, Java's equalsIgnoreCase among them.
_TURKISH = str.maketrans("\u0130\u0131", "ii")

NOT_EXPOSED = b""


class DoubtfulPath(ValueError):
    """The path cannot be told apart from an attack; the answer is 400."""


def plain(path: bytes) -> bool:
    """Return whether every node reads the path alike, in one pass.

    True: it begins with `/` and holds only visible ASCII, none of `% ; \\ ? #`, no `//` and no
    dot segment.
    """
    size = len(path)
    if size == 0 or path[0] != 0x2F:
        return False
    # The state of the segment: bytes in it while they are dots only (0, 1, 2), else 3.
    dots = 0
    for i in range(1, size):
        c = path[i]
        if c == 0x2F:
            if dots < 3:
                return False
            dots = 0
        elif c == 0x2E:
            if dots < 3:
                dots += 1
        elif c <= 0x20 or c >= 0x7F or c in b"%;\\?#":
            return False
        else:
            dots = 3
    return dots == 0 or dots == 3


def readings(path: bytes) -> tuple[bytes, ...]:
    """Return every reading of the path that a node could take, the path itself first.

    Args: path: the target's path as received, without the query.
    Raises: DoubtfulPath.
    """
    if not path.startswith(b"/"):
        raise DoubtfulPath("the path does not begin with /")
    if _BAD_ESCAPE.search(path):
        raise DoubtfulPath("a percent escape is not two hexadecimal digits")
    found: dict[bytes, int] = {path: 0}
    todo = [path]
    # The list grows while it is walked: each new reading is itself read again.
    for reading in todo:
        _refuse_doubtful_bytes(reading)
        decodes = found[reading]
        results = [(step(reading), decodes) for step in _STEPS]
        if decodes < MAX_DECODES:
            results.append((unquote_to_bytes(reading), decodes + 1))
        for result, result_decodes in results:
            known = found.get(result)
            if known is None:
                todo.append(result)
                found[result] = result_decodes
            elif result_decodes < known:
                # Reached again with an escape level to spare: it may be decoded once more.
                todo.append(result)
                found[result] = result_decodes
        if len(todo) > MAX_READINGS:
            raise DoubtfulPath("the path can be read in too many ways")
    return tuple(found)


def _refuse_doubtful_bytes(reading: bytes) -> None:
    if _CONTROL.search(reading):
        raise DoubtfulPath("the path holds a control character")
    if _OVERLONG.search(reading):
        raise DoubtfulPath("the path holds an overlong UTF-8 form")


def _without_parameters(reading: bytes) -> bytes:
    return _PARAMETERS.sub(b"", reading)


def _backslash_as_slash(reading: bytes) -> bytes:
    return reading.replace(b"\\", b"/")


def _merged_slashes(reading: bytes) -> bytes:
    return _SLASHES.sub(b"/", reading)


def _cut_at_query(reading: bytes) -> bytes:
    # A node that decodes before it looks for the query ends the path at an encoded `?`.
    return _END_OF_PATH.split(reading, maxsplit=1)[0]


def _resolved(reading: bytes) -> bytes:
    """Return the path without dot segments (RFC 3986 section 5.2.4), slashes not merged."""
    if not _DOT_SEGMENT.search(reading):
        return reading
    kept: list[bytes] = []
    segment = b""
    for segment in reading[1:].split(b"/"):
        if segment == b"..":
            # RFC 3986 would stay at the root. We are stricter: no honest link leads there, and
            # a node that prepends a directory would leave it.
            if not kept:
                raise DoubtfulPath("the path climbs above the root")
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segment in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


_STEPS: tuple[Callable[[bytes], bytes], ...] = (
    _without_parameters,
    _backslash_as_slash,
    _merged_slashes,
    _cut_at_query,
    _resolved,
)


def _folded(reading: bytes) -> bytes:
    """Return the reading as a node that ignores case compares it, also beyond ASCII."""
    if reading.isascii():
        return reading.lower()
    return reading.decode("utf-8", "replace").translate(_TURKISH).casefold().encode()


def _begins(path: bytes, prefix: bytes, start: int) -> bool:
    """Return whether `prefix` (`/a` or `/a/`) covers the path from `start` on, by segments."""
    end = start + len(prefix)
    if not path.startswith(prefix, start):
        return False
    # The last byte of the prefix, which is never empty, or the first one behind it.
    return len(path) == end or path[end] == 0x2F or path[end - 1] == 0x2F


def _after_tenant(path: bytes, segments: tuple[bytes, ...], start: int) -> int:
    """Return where the path goes on behind a tenant prefix (`t`, `*`) at `start`, or -1."""
    size = len(path)
    for segment in segments:
        if start >= size:
            return -1
        end = start + 1
        while end < size and path[end] != 0x2F:
            end += 1
        if segment != b"*" and path[start + 1 : end] != segment:
            return -1
        start = end
    return start


class Visibility:
    """What of a pool outsiders may reach.

    Prefixes hold by whole segments: `/admin` hides `/admin` and `/admin/x`, not `/administrator`;
    with a slash at its end, `/realms/` exposes only what lies below. Hidden prefixes are compared
    without regard to case, since some nodes fold it (and then `/ADMIN` is `/admin`); exposed ones
    exactly. Tenant prefixes stack: with `/t/*` and `/o`, `/t/x/o/admin` is hidden with `/admin`.

    Args: hide, expose, tenant_prefixes: plain path prefixes, as in `config.schema.Pool`.
    """

    def __init__(
        self,
        hide: Iterable[bytes] = (),
        expose: Iterable[bytes] = (),
        tenant_prefixes: Sequence[bytes] = (),
    ) -> None:
        self._hide = tuple(prefix.lower() for prefix in hide)
        self._expose = tuple(expose)
        self._tenants = tuple(
            tuple(prefix.lower().strip(b"/").split(b"/")) for prefix in tenant_prefixes
        )
        # Nearly no path begins with a tenant's first segment: a cheap question to ask first.
        self._tenant_heads = tuple(
            b"/" if segments[0] == b"*" else b"/" + segments[0] for segments in self._tenants
        )

    def hidden(self, path: bytes) -> bool:
        """Return whether the path is 404 from outside.

        Args: path: as received, without the query.
        Raises: DoubtfulPath: the answer is 400.
        """
        return self.hidden_by(path) is not None

    def hidden_by(self, path: bytes) -> bytes | None:
        """Return the prefix that hides the path, NOT_EXPOSED, or None where it is visible.

        Raises: DoubtfulPath: the answer is 400.
        """
        if plain(path):
            return self._rule(path, path.lower())
        for reading in readings(path):
            rule = self._rule(reading, _folded(reading))
            if rule is not None:
                return rule
        return None

    def _rule(self, reading: bytes, folded: bytes) -> bytes | None:
        for prefix in self._hide:
            if _begins(folded, prefix, 0):
                return prefix
        for prefix in self._tenant_heads:
            if _begins(folded, prefix, 0):
                rule = self._rule_below_tenants(folded)
                if rule is not None:
                    return rule
                break
        if not self._expose:
            return None
        for prefix in self._expose:
            if _begins(reading, prefix, 0):
                return None
        return NOT_EXPOSED

    def _rule_below_tenants(self, folded: bytes) -> bytes | None:
        # Each position is visited once, so the work is linear however the prefixes overlap.
        starts = {0}
        todo = [0]
        for start in todo:
            for tenant in self._tenants:
                after = _after_tenant(folded, tenant, start)
                if after < 0 or after in starts:
                    continue
                starts.add(after)
                todo.append(after)
                for prefix in self._hide:
                    if _begins(folded, prefix, after):
                        return prefix
            if len(todo) > MAX_TENANTS:
                raise DoubtfulPath("the path stacks too many tenant prefixes")
        return None
