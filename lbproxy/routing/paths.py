"""Every reading of a request path that a node could take, and the paths hidden from outsiders.

lbproxy forwards a path byte for byte, so the node decides what it means, and nodes differ: they
decode percent escapes once or twice, drop `;parameters` before or after resolving dot segments,
merge slashes, take a backslash for a slash, take what follows two slashes for the name of a host,
or none of these. A rule such as "hide /admin" must hold for the reading that the node takes, which
is not known here. So it is applied to all of them:

- `readings` applies each of these steps to the path and to every result, in every order;
- a path is hidden if any reading is (or if any reading lies outside of what is exposed);
- what no honest client sends is refused: broken escapes, encoded control bytes, overlong UTF-8,
  more readings than MAX_READINGS or longer ones than MAX_BYTES, and any reading that climbs above
  the root.

That some readings are nonsense for a given node costs an honest client nothing: its paths are
plain, or differ in one escape. Plain paths, nearly all of them, have one reading and take one
pass of `plain`.

How it is fast: one pass over a reading tells which steps can change it, and only those are taken,
each in one pass of its own. So a hostile path costs no more than a few passes over MAX_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Two escapes and a parameter make a dozen. A client that needs more is trying doors.
MAX_READINGS = 48
# Of all readings together: the longest path that fits a request line may have eight of them.
MAX_BYTES = 64 << 10
# A filter and the application behind it may each decode once; nobody decodes a third time.
MAX_DECODES = 2
# A tenant and an organisation of it make two; each more costs a look at every hidden prefix.
MAX_TENANTS = 16

# Marks of `_look`: the steps that can change a reading.
_ESCAPE, _PARAMETER, _BACKSLASH, _SLASHES, _END, _DOTS, _NETWORK = 1, 2, 4, 8, 16, 32, 64
# HEX[byte]: the digit's value, or 255.
HEX = bytes(int(chr(c), 16) if c in b"0123456789abcdefABCDEF" else 255 for c in range(256))
# Letters beyond ASCII that some programs take for ASCII letters if they ignore case: the Kelvin
# sign, the long s, the sharp s, ligatures, and the Turkish i with and without its dot (to Java's
# equalsIgnoreCase).
_FOLDS = tuple(
    (letter.encode(), ascii)
    for letter, ascii in (
        ("\u212a", b"k"),
        ("\u017f", b"s"),
        ("\u0130", b"i"),
        ("\u0131", b"i"),
        ("\u00df", b"ss"),
        ("\u1e9e", b"ss"),
        ("\ufb00", b"ff"),
        ("\ufb01", b"fi"),
        ("\ufb02", b"fl"),
        ("\ufb03", b"ffi"),
        ("\ufb04", b"ffl"),
        ("\ufb05", b"st"),
        ("\ufb06", b"st"),
    )
)

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
    if plain(path):
        return (path,)
    _refuse_broken(path)
    found: dict[bytes, int] = {path: 0}
    todo = [path]
    work = 0
    # The list grows while it is walked: each new reading is itself read again.
    for reading in todo:
        work += len(reading)
        if work > MAX_BYTES:
            raise DoubtfulPath("the path can be read in too many ways for its length")
        marks = _look(reading)
        decodes = found[reading]
        if marks & _PARAMETER:
            _note(_without_parameters(reading), decodes, found, todo)
        if marks & _BACKSLASH:
            _note(reading.replace(b"\\", b"/"), decodes, found, todo)
        if marks & _SLASHES:
            _note(_merged_slashes(reading), decodes, found, todo)
        if marks & _END:
            _note(_cut_at_query(reading), decodes, found, todo)
        if marks & _DOTS:
            _note(_resolved(reading), decodes, found, todo)
        if marks & _NETWORK:
            _note(_without_host(reading), decodes, found, todo)
            _note(_without_authority(reading), decodes, found, todo)
        if marks & _ESCAPE and decodes < MAX_DECODES:
            _note(_decoded(reading), decodes + 1, found, todo)
        if len(todo) > MAX_READINGS:
            raise DoubtfulPath("the path can be read in too many ways")
    return tuple(found)


def refuse_doubtful(path: bytes) -> None:
    """Refuse what no honest client sends, if no rule depends on the reading of the path.

    Unlike `readings` it follows one order of the steps, the strictest, so it costs a few passes
    whatever the path is. Args: path: as `readings`. Raises: DoubtfulPath.
    """
    if plain(path):
        return
    _refuse_broken(path)
    reading = path
    for _ in range(MAX_DECODES + 1):
        _look(reading)
        _resolved(_merged_slashes(_without_parameters(reading.replace(b"\\", b"/"))))
        reading = _decoded(reading)


def _note(reading: bytes, decodes: int, found: dict[bytes, int], todo: list[bytes]) -> None:
    """Take in a reading that was decoded so often, if it is new."""
    known = found.get(reading)
    # Reached again with an escape level to spare it may be decoded once more.
    if known is None or decodes < known:
        todo.append(reading)
        found[reading] = decodes


def _refuse_broken(path: bytes) -> None:
    """Refuse broken escapes. Only in the path as received: `100%25` decodes to `100%`."""
    size = len(path)
    if size == 0 or path[0] != 0x2F:
        raise DoubtfulPath("the path does not begin with /")
    digits = HEX
    for i in range(size):
        if path[i] == 0x25 and (
            i + 2 >= size or digits[path[i + 1]] > 15 or digits[path[i + 2]] > 15
        ):
            raise DoubtfulPath("a percent escape is not two hexadecimal digits")


def _look(reading: bytes) -> int:
    """Return the marks of the steps that can change a reading, which begins with `/`.

    Raises: DoubtfulPath: it holds a control byte, or one that only an overlong form holds (RFC 3629
    section 3): 0xC0 0xAF would be another slash.
    """
    size = len(reading)
    marks = 0
    # As in `plain`: the bytes of the segment while they are dots only, else 3; 0 behind a slash.
    dots = 0
    if size > 1 and (reading[1] == 0x2F or reading[1] == 0x5C):
        marks = _NETWORK
    for i in range(1, size):
        c = reading[i]
        if c == 0x2F:
            if dots == 0:
                marks |= _SLASHES
            elif dots < 3:
                marks |= _DOTS
            dots = 0
        elif c == 0x2E:
            if dots < 3:
                dots += 1
        else:
            dots = 3
            if c == 0x25:
                marks |= _ESCAPE
            elif c == 0x3B:
                marks |= _PARAMETER
            elif c == 0x5C:
                marks |= _BACKSLASH
            elif c == 0x3F or c == 0x23:
                marks |= _END
            elif c < 0x20 or c == 0x7F:
                raise DoubtfulPath("the path holds a control character")
            elif c >= 0xC0 and (
                c < 0xC2
                or (c == 0xE0 and i + 1 < size and 0x80 <= reading[i + 1] < 0xA0)
                or (c == 0xF0 and i + 1 < size and 0x80 <= reading[i + 1] < 0x90)
            ):
                raise DoubtfulPath("the path holds an overlong UTF-8 form")
    if dots == 1 or dots == 2:
        marks |= _DOTS
    return marks


def _without_parameters(reading: bytes) -> bytes:
    size = len(reading)
    kept = bytearray(size)
    end = 0
    inside = False
    for i in range(size):
        c = reading[i]
        if c == 0x2F:
            inside = False
        elif c == 0x3B:
            inside = True
        if not inside:
            kept[end] = c
            end += 1
    return bytes(kept[:end])


def _merged_slashes(reading: bytes) -> bytes:
    size = len(reading)
    kept = bytearray(size)
    end = 0
    for i in range(size):
        c = reading[i]
        if c != 0x2F or end == 0 or kept[end - 1] != 0x2F:
            kept[end] = c
            end += 1
    return bytes(kept[:end])


def _cut_at_query(reading: bytes) -> bytes:
    # A node that decodes before it looks for the query ends the path at an encoded `?`.
    return reading.partition(b"?")[0].partition(b"#")[0]


def _without_host(reading: bytes) -> bytes:
    """Return what follows the first segment of a path that begins with slashes or backslashes.

    A node that reads as browsers do takes that segment for a host, skips any number of slashes
    before it, and ends it at a backslash as well: that is the reading with slashes instead.
    """
    size = len(reading)
    i = 0
    while i < size and (reading[i] == 0x2F or reading[i] == 0x5C):
        i += 1
    while i < size and reading[i] != 0x2F:
        i += 1
    return b"/" + reading[i + 1 :]


def _without_authority(reading: bytes) -> bytes:
    """Return what follows the authority of a path that begins with two slashes, as a node reads it
    that takes it for a reference (RFC 3986 section 4.2). The authority may be empty, or hold a
    backslash."""
    if not reading.startswith(b"//"):
        return reading
    end = reading.find(b"/", 2)
    return b"/" if end < 0 else reading[end:]


def _decoded(reading: bytes) -> bytes:
    """Return the path with its percent escapes decoded once; other percent signs stay."""
    size = len(reading)
    kept = bytearray(size)
    digits = HEX
    end = 0
    i = 0
    while i < size:
        c = reading[i]
        if c == 0x25 and i + 2 < size and digits[reading[i + 1]] < 16:
            low = digits[reading[i + 2]]
            if low < 16:
                c = digits[reading[i + 1]] << 4 | low
                i += 2
        kept[end] = c
        end += 1
        i += 1
    return bytes(kept[:end])


def _resolved(reading: bytes) -> bytes:
    """Return the path without dot segments (RFC 3986 section 5.2.4), slashes not merged."""
    size = len(reading)
    kept = bytearray(size + 1)
    end = 0
    start = 0
    while start < size:
        # A slash and the segment behind it.
        stop = start + 1
        while stop < size and reading[stop] != 0x2F:
            stop += 1
        length = stop - start
        dotted = length in (2, 3) and reading[start + 1] == 0x2E and reading[stop - 1] == 0x2E
        if dotted and length == 3:
            # RFC 3986 would stay at the root. We are stricter: no honest link leads there, and
            # a node that prepends a directory would leave it.
            if end == 0:
                raise DoubtfulPath("the path climbs above the root")
            end -= 1
            while kept[end] != 0x2F:
                end -= 1
        if not dotted:
            for i in range(start, stop):
                kept[end] = reading[i]
                end += 1
        elif stop == size:
            kept[end] = 0x2F
            end += 1
        start = stop
    return bytes(kept[:end])


def _folded(reading: bytes) -> bytes:
    """Return the reading as a node that ignores case compares it, even letters beyond ASCII."""
    folded = reading.lower()
    if not folded.isascii():
        for letter, plain_letters in _FOLDS:
            folded = folded.replace(letter, plain_letters)
    return folded


def _begins(path: bytes, prefix: bytes, start: int, extensions: bool) -> bool:
    """Return whether `prefix` (`/a` or `/a/`) covers the path from `start` on, by segments.

    Args: extensions: `/a` covers `/a.b` as well.
    """
    end = start + len(prefix)
    if not path.startswith(prefix, start):
        return False
    # The last byte of the prefix, which is never empty, or the first one behind it.
    return (
        len(path) == end
        or path[end] == 0x2F
        or path[end - 1] == 0x2F
        or (extensions and path[end] == 0x2E)
    )


def _after_tenant(path: bytes, segments: tuple[bytes, ...], start: int) -> int:
    """Return the offset behind a tenant prefix (`t`, `*`) at `start`, or -1."""
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
    """The paths of a pool that outsiders may reach.

    Prefixes hold by whole segments: `/admin` hides `/admin` and `/admin/x`, not `/administrator`;
    with a slash at its end, `/realms/` exposes only what lies below. Hidden prefixes are compared
    without regard to case, since some nodes fold it (and then `/ADMIN` is `/admin`); exposed ones
    exactly. Tenant prefixes stack: with `/t/*` and `/o`, `/t/x/o/admin` is hidden with `/admin`.

    Some frameworks cut a file's extension off before they look for the action, so that
    `/admin.json` is `/admin`. This is no reading like the others: elsewhere `/admin.css` is an
    honest file. If the rule is on, everything behind the dot is hidden: no action has a name with a
    dot.

    Args: hide, expose, tenant_prefixes, hide_extensions: as in `PoolSettings`.
    """

    def __init__(
        self,
        hide: Iterable[bytes] = (),
        expose: Iterable[bytes] = (),
        tenant_prefixes: Sequence[bytes] = (),
        hide_extensions: bool = False,
    ) -> None:
        self._hide = tuple(prefix.lower() for prefix in hide)
        self._expose = tuple(expose)
        self._extensions = hide_extensions
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
        """Return the prefix that hides the path, NOT_EXPOSED, or None if it is visible.

        Raises: DoubtfulPath: the answer is 400.
        """
        return self.rule(readings(path))

    def rule(self, ways: tuple[bytes, ...]) -> bytes | None:
        """Return what `hidden_by` returns. Args: ways: the path's readings."""
        for reading in ways:
            rule = self._rule(reading, _folded(reading))
            if rule is not None:
                return rule
        return None

    def _rule(self, reading: bytes, folded: bytes) -> bytes | None:
        for prefix in self._hide:
            if _begins(folded, prefix, 0, self._extensions):
                return prefix
        for prefix in self._tenant_heads:
            if _begins(folded, prefix, 0, False):
                rule = self._rule_below_tenants(folded)
                if rule is not None:
                    return rule
                break
        if not self._expose:
            return None
        for prefix in self._expose:
            if _begins(reading, prefix, 0, False):
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
                    if _begins(folded, prefix, after, self._extensions):
                        return prefix
            if len(todo) > MAX_TENANTS:
                raise DoubtfulPath("the path stacks too many tenant prefixes")
        return None
