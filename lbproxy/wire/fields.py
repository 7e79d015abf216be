"""Field lines of a head: one strict cursor for requests, responses and trailers; names to drop.

Strictness (RFC 9112 sections 2.2 and 5): a line ends in CRLF and nothing else, a name is a token
followed at once by a colon, a value holds no control byte but HTAB. Folded lines are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Set


class BadHead(ValueError):
    """A head that is refused.

    Args: reason: the name of the error (`bad_request`, `head_too_large`, …); detail: for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_TCHAR = b"!#$%&'*+-^`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ODD = 2  # the mark of `_` and `.` in TOKEN: tokens that some nodes read as `-`

# TOKEN[byte]: 0 not a token byte, 1 a token byte, ODD a token byte with a second reading.
TOKEN = bytes(1 if c in _TCHAR else ODD if c in b"_." else 0 for c in range(256))
# VALUE[byte]: 1 where the byte may stand in a field value (RFC 9110 5.5, obs-text included).
VALUE = bytes(1 if c == 9 or (c >= 32 and c != 127) else 0 for c in range(256))
# LOWER[byte]: ASCII lower case.
LOWER = bytes(range(256)).lower()
_FOLD = bytes(45 if c in b"_." else c for c in bytes(range(256)).lower())

# Names whose second spelling (`content_length`) would be read as the field itself by some nodes.
_FRAMING_NAMES = frozenset(
    (
        b"connection",
        b"content-length",
        b"cookie",
        b"expect",
        b"host",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


def fold(name: bytes) -> bytes:
    """Return the name in lower case with `_` and `.` as `-`: what CGI-like nodes make of it."""
    return name.translate(_FOLD)


class DropRules:
    """Which fields of a client are removed: forwarded fields and their look-alikes.

    Args: exact: folded names; prefixes: folded beginnings of at least two bytes.
    """

    def __init__(self, exact: Iterable[bytes], prefixes: Iterable[bytes]) -> None:
        self.exact = frozenset(exact)
        self.prefixes = tuple(prefixes)
        pairs = bytearray(1024)
        for name in (*self.exact, *self.prefixes):
            pairs[(name[0] & 31) << 5 | (name[1] & 31)] = 1
        # A filter on the first two bytes, so that common fields are never folded or looked up.
        # `_`, `.` and `-` share it: their low five bits differ, so all three are entered.
        for name in (*self.exact, *self.prefixes):
            if name[1] == 45:
                for other in b"_.":
                    pairs[(name[0] & 31) << 5 | (other & 31)] = 1
        self.pairs = bytes(pairs)

    def matches(self, name: bytes) -> bool:
        """Return True where a field of this name, as sent, is to be removed."""
        folded = fold(name)
        return folded in self.exact or folded.startswith(self.prefixes)


def _same(b: bytes, start: int, word: bytes) -> bool:
    """Return True where `word` (lower case) stands at `start` in any case. The caller knows that
    as many bytes are there."""
    w = word
    lower = LOWER
    for i in range(len(word)):  # noqa: SIM110 (a generator would cost more than the comparison)
        if lower[b[start + i]] != w[i]:
            return False
    return True


class FieldCursor:
    """Walks the field lines of one head.

    Set `data`, `position` and `stop` (with `begin`), then call `advance` until it returns END.
    """

    def __init__(self) -> None:
        self.data: bytes = b""
        self.position: int = 0
        self.stop: int = 0
        self.name_start: int = 0
        self.name_end: int = 0
        self.value_start: int = 0
        self.value_end: int = 0
        self.odd: bool = False

    def begin(self, data: bytes, position: int, stop: int) -> None:
        """Start at `position`; bytes from `stop` on are not looked at."""
        self.data = data
        self.position = position
        self.stop = stop

    def advance(self) -> int:
        """Step over one line.

        Returns: 1 with the bounds of a field set, 0 at the empty line (position is behind it),
        -1 where more bytes are needed.
        Raises: BadHead: `bad_request` for anything but a well-formed line.
        """
        b = self.data
        p = self.position
        stop = self.stop
        token = TOKEN
        value = VALUE
        if p >= stop:
            return -1
        if b[p] == 13:
            if p + 1 >= stop:
                return -1
            if b[p + 1] != 10:
                raise BadHead("bad_request", "CR without LF")
            self.position = p + 2
            return 0
        start = p
        marks = 0
        while p < stop and token[b[p]]:
            marks |= token[b[p]]
            p += 1
        if p >= stop:
            return -1
        if p == start or b[p] != 58:
            raise BadHead("bad_request", "field name is not a token followed by a colon")
        self.name_start = start
        self.name_end = p
        self.odd = marks >= 2
        p += 1
        while p < stop and (b[p] == 32 or b[p] == 9):
            p += 1
        self.value_start = p
        while p < stop and value[b[p]]:
            p += 1
        if p + 1 >= stop:
            if p < stop and b[p] != 13:
                raise BadHead("bad_request", "control byte in a field value")
            return -1
        if b[p] != 13 or b[p + 1] != 10:
            raise BadHead("bad_request", "control byte in a field value")
        self.position = p + 2
        end = p
        start = self.value_start
        while end > start and (b[end - 1] == 32 or b[end - 1] == 9):
            end -= 1
        self.value_end = end
        if self.odd and fold(self.data[self.name_start : self.name_end]) in _FRAMING_NAMES:
            raise BadHead("bad_request", "a look-alike of a framing field")
        return 1

    def starts(self, b: bytes, start: int, word: bytes) -> bool:
        """Return True where `word` stands at `start`. The caller knows that as many bytes are
        there."""
        w = word
        for i in range(len(word)):  # noqa: SIM110 (as above)
            if b[start + i] != w[i]:
                return False
        return True

    def is_name(self, word: bytes) -> bool:
        """Return True where the current field's name is `word` (lower case), in any case."""
        return self.name_end - self.name_start == len(word) and _same(
            self.data, self.name_start, word
        )

    def is_value(self, word: bytes) -> bool:
        """Return True where the current field's value is `word` (lower case), in any case."""
        return self.value_end - self.value_start == len(word) and _same(
            self.data, self.value_start, word
        )

    def name(self) -> bytes:
        """The current field's name as sent."""
        b = self.data
        return b[self.name_start : self.name_end]

    def value(self) -> bytes:
        """The current field's value without the white space around it."""
        b = self.data
        return b[self.value_start : self.value_end]

    def length_value(self) -> int:
        """The current field's value as a length.

        Raises: BadHead unless it is 1 to 18 digits. Source: RFC 9110 section 8.6.
        """
        b = self.data
        p = self.value_start
        end = self.value_end
        total = 0
        if end == p or end - p > 18:
            raise BadHead("bad_request", "Content-Length is not a number")
        while p < end:
            if b[p] < 48 or b[p] > 57:
                raise BadHead("bad_request", "Content-Length is not a number")
            total = total * 10 + (b[p] - 48)
            p += 1
        return total

    def is_plain_length(self) -> bool:
        """Return True where a length is spelled as we would: no leading zero, at most one space
        before it, nothing behind it. Such a line may go on as received."""
        b = self.data
        p = self.value_start
        space = p - self.name_end - 1
        return (
            (space == 0 or (space == 1 and b[p - 1] == 32))
            and self.position - self.value_end == 2
            and (b[p] != 48 or self.value_end - p == 1)
        )


# Members of a list that is read, the empty ones included. Honest ones have a handful.
MAX_MEMBERS = 64


def list_tokens(value: bytes) -> list[bytes]:
    """Return the lower-cased members of a comma-separated field value; empty ones are left out.

    Raises: BadHead: bad_request where a member is not a token, or there are more than MAX_MEMBERS.
    Connection names fields to remove: a member with a space in it could otherwise name a request
    line.
    """
    if value.count(b",") >= MAX_MEMBERS:
        raise BadHead("bad_request", "a list of too many members")
    members = [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]
    for member in members:
        if member.translate(None, _TCHAR + b"_."):
            raise BadHead("bad_request", "a list member that is not a token")
    return members


def without_lines(part: bytes, names: Set[bytes]) -> bytes:
    """Return a run of well-formed field lines without the fields of these names (lower case)."""
    kept = [
        line
        for line in part.split(b"\r\n")
        if line and line[: line.find(b":")].lower() not in names
    ]
    return b"".join(line + b"\r\n" for line in kept)


def find_line(part: bytes, name: bytes) -> bytes | None:
    """Return the first value of the field `name` (lower case) in a run of well-formed lines."""
    for line in part.split(b"\r\n"):
        if line[: line.find(b":")].lower() == name:
            return line[line.find(b":") + 1 :].strip(b" \t")
    return None


def find_part(parts: Iterable[bytes], name: bytes) -> bytes | None:
    """Return the first value of the field `name` (lower case) in runs of well-formed lines."""
    for part in parts:
        value = find_line(part, name)
        if value is not None:
            return value
    return None
