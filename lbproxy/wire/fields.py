"""Field lines of a head: one strict cursor for requests, responses and trailers; names to drop.

Strictness (RFC 9112 sections 2.2 and 5): a line ends in CRLF and nothing else, a name is a token
followed at once by a colon, a value holds no control byte but HTAB. Folded lines are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lbproxy.errors import Failure
from lbproxy.wire.field_kinds import NAMES, OTHER, TABLE
from lbproxy.wire.octets import LOWER, TCHAR, TOKEN, VALUE


class BadHead(ValueError):
    """A head that is refused.

    Args: failure: what it comes to; detail: for a person.
    """

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(f"{failure.reason}: {detail}")
        self.failure = failure
        self.detail = detail


_FOLD_ALL = bytes(c if chr(c).isalnum() and c < 128 else 45 for c in bytes(range(256)).lower())
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


def fold_all(name: bytes) -> bytes:
    """Return the name in lower case with `-` for all that is neither a letter nor a digit: the
    same for every spelling that some node takes for it."""
    return name.translate(_FOLD_ALL)


# Longer names are not remembered.
_MAX_KEPT = 64
# Verdicts on other names that are remembered; then the memory starts again: clients choose names.
_MAX_REMEMBERED = 2048


ANYWHERE, AT_WORD, AT_START, BEHIND_X = range(4)
_ANYWHERE, _AT_WORD, _BEHIND_X = ANYWHERE, AT_WORD, BEHIND_X  # as C integers if compiled


class Rule:
    """What names are made of that are dropped.

    Args: place: where `word` has to be found in a name: anywhere, at the beginning of a word, at
    the beginning of the name, where an `x` and what separates it do not count, or there behind an
    `x`; word: at least two letters or digits; tail: has to match what follows, None for anything.
    """

    def __init__(self, place: int, word: bytes, tail: re.Pattern[bytes] | None) -> None:
        self.place = place
        self.word = word
        self.tail = tail


class DropRules:
    """Which fields of a client are removed: forwarded fields and their look-alikes.

    Args: exact: names; prefixes: their beginnings; rules: what is looked for in every other name of
    at most `longest` bytes; held: names that are not lost for good. All of them are folded by
    `fold_all`.

    `kept`: for each kind of `field_kinds` 1 if its fields are kept, 0 if `matches` is to be asked.

    Theory of operation: nearly every field that comes has a kind. What is thought of another name
    is remembered, and if it is not, its pairs of letters say which rules could begin there.
    """

    def __init__(
        self,
        exact: Iterable[bytes],
        prefixes: Iterable[bytes],
        rules: Iterable[Rule] = (),
        longest: int = 0,
        held: Iterable[bytes] = (),
    ) -> None:
        self.exact = frozenset(exact)
        self.prefixes = tuple(prefixes)
        self.held = frozenset(held)
        self._longest = longest
        self._remembered: dict[bytes, bool] = {}
        self._rules: list[list[Rule] | None] = [None] * 1024
        for rule in rules:
            pair = (rule.word[0] & 31) << 5 | (rule.word[1] & 31)
            self._rules[pair] = [*(self._rules[pair] or ()), rule]
        self.kept = bytes(
            kind != OTHER and not self._drops(fold_all(name)) for kind, name in enumerate(NAMES)
        )

    def matches(self, name: bytes) -> bool:
        """Return True if a field of this name, as sent, is to be removed."""
        known = self._remembered.get(name)
        if known is not None:
            return known
        drops = self._drops(fold_all(name))
        if len(name) <= _MAX_KEPT:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[name] = drops
        return drops

    def _drops(self, folded: bytes) -> bool:
        if folded in self.exact or folded.startswith(self.prefixes):
            return True
        octets = folded
        size = len(folded)
        if size > self._longest:
            return False
        begin = 0  # of the name behind an `x` and separators
        while begin < size and (
            octets[begin] == ord("-") or (octets[begin] == ord("x") and not begin)
        ):
            begin += 1
        for i in range(size - 1):
            rules = self._rules[(octets[i] & 31) << 5 | (octets[i + 1] & 31)]
            if rules is None:
                continue
            for rule in rules:
                if rule.place == _BEHIND_X:
                    fits = 0 < i == begin
                else:
                    fits = i == 0 or i == begin or rule.place == _ANYWHERE
                    fits = fits or (rule.place == _AT_WORD and octets[i - 1] == ord("-"))
                if fits and folded.startswith(rule.word, i):
                    if rule.tail is None:
                        return True
                    if rule.tail.match(folded, i + len(rule.word)) is not None:
                        return True
        return False


def _same(octets: bytes, start: int, word: bytes) -> bool:
    """Return True if `word` (lower case) stands at `start` in any case. The caller knows that
    as many bytes are there."""
    w = word
    lower = LOWER
    for i in range(len(word)):  # noqa: SIM110 (a generator would cost more than the comparison)
        if lower[octets[start + i]] != w[i]:
            return False
    return True


class FieldCursor:
    """Walks the field lines of one head.

    Set `data`, `position` and `stop` (with `begin`), then call `advance` until it returns END.

    Args: malformed: the failure that a line which is not well-formed comes to: the client's or the
    node's; lenient: for answers: allow white space between a name and its `colon` (RFC 9112
    section 5.1: a proxy removes it), though not in a field that frames the message; `line_from`
    leaves it out.
    """

    def __init__(self, malformed: Failure = Failure.BAD_REQUEST, lenient: bool = False) -> None:
        self.malformed = malformed
        self.lenient = lenient
        self.data: bytes = b""
        self.position: int = 0
        self.stop: int = 0
        self.name_start: int = 0
        self.name_end: int = 0
        self.value_start: int = 0
        self.value_end: int = 0
        self.odd: bool = False
        self.colon: int = 0

    def begin(self, data: bytes, position: int, stop: int) -> None:
        """Start at `position`; bytes from `stop` on are not looked at."""
        self.data = data
        self.position = position
        self.stop = stop

    def advance(self) -> int:
        """Step over one line.

        Returns: 1 with the bounds of a field set, 0 at the empty line (position is behind it),
        -1 where more bytes are needed.
        Raises: BadHead: `malformed`, for anything but a well-formed line.
        """
        octets = self.data
        p = self.position
        stop = self.stop
        token = TOKEN
        if p >= stop:
            return -1
        if octets[p] == ord("\r"):
            if p + 1 >= stop:
                return -1
            if octets[p + 1] != ord("\n"):
                raise BadHead(self.malformed, "CR without LF")
            self.position = p + 2
            return 0
        start = p
        marks = 0
        while p < stop and token[octets[p]]:
            marks |= token[octets[p]]
            p += 1
        if p >= stop:
            return -1
        self.name_start = start
        self.name_end = p
        if self.lenient and p > start:
            while p < stop and (octets[p] == ord(" ") or octets[p] == ord("\t")):
                p += 1
            if p >= stop:
                return -1
        if p == start or octets[p] != ord(":"):
            raise BadHead(self.malformed, "field name is not a token followed by a colon")
        self.colon = p
        self.odd = marks >= 2 or p > self.name_end
        p += 1
        while p < stop and (octets[p] == ord(" ") or octets[p] == ord("\t")):
            p += 1
        self.value_start = p
        p = self.value_stop(octets, p, stop)
        if p + 1 >= stop:
            if p < stop and octets[p] != ord("\r"):
                raise BadHead(self.malformed, "control byte in a field value")
            return -1
        if octets[p] != ord("\r") or octets[p + 1] != ord("\n"):
            raise BadHead(self.malformed, "control byte in a field value")
        self.position = p + 2
        end = p
        start = self.value_start
        while end > start and (octets[end - 1] == ord(" ") or octets[end - 1] == ord("\t")):
            end -= 1
        self.value_end = end
        if self.odd and fold(self.data[self.name_start : self.name_end]) in _FRAMING_NAMES:
            raise BadHead(self.malformed, "a look-alike of a framing field")
        return 1

    def value_stop(self, octets: bytes, p: int, stop: int) -> int:
        """Return where octets of a value end, at `stop` or before: most of a head is read here,
        so four are at a time."""
        value = VALUE
        while (
            p + 4 <= stop
            and value[octets[p]]
            and value[octets[p + 1]]
            and value[octets[p + 2]]
            and value[octets[p + 3]]
        ):
            p += 4
        while p < stop and value[octets[p]]:
            p += 1
        return p

    def line_from(self, line: int) -> bytes:
        """Return the current line, which begins at `line`, without white space before the colon."""
        data = self.data
        return data[line : self.name_end] + data[self.colon : self.position]

    def starts(self, octets: bytes, start: int, word: bytes) -> bool:
        """Return True if `word` stands at `start`. The caller knows that as many bytes are
        there."""
        w = word
        for i in range(len(word)):  # noqa: SIM110 (as above)
            if octets[start + i] != w[i]:
                return False
        return True

    def kind(self, first: int, last: int) -> int:
        """Return the kind of the current field's name if it is from `first` to `last`, else OTHER.

        The name is a token, so one bit tells the cases of a letter apart, and turns nothing else of
        a token into an octet of a name in the table.
        """
        octets = self.data
        start = self.name_start
        size = self.name_end - start
        table = TABLE
        if size < 2:
            return 0
        # This is `field_kinds.slot`.
        kind = table[((octets[start] & 31) + (octets[start + size - 2] & 31) * 19 + size) & 255]
        if table[256 + kind] != size or kind < first or kind > last:
            return 0
        row = 512 + kind * 32
        for i in range(size):
            if octets[start + i] | 32 != table[row + i]:
                return 0
        return kind

    def is_value(self, word: bytes) -> bool:
        """Return True if the current field's value is `word` (lower case), in any case."""
        return self.value_end - self.value_start == len(word) and _same(
            self.data, self.value_start, word
        )

    def name(self) -> bytes:
        """The current field's name as sent."""
        data = self.data
        return data[self.name_start : self.name_end]

    def value(self) -> bytes:
        """The current field's value without the white space around it."""
        data = self.data
        return data[self.value_start : self.value_end]

    def length_value(self) -> int:
        """The current field's value as a length.

        Raises: BadHead: `malformed`, unless it is 1 to 18 digits. Source: RFC 9110 section 8.6.
        """
        octets = self.data
        p = self.value_start
        end = self.value_end
        total = 0
        if end == p or end - p > 18:
            raise BadHead(self.malformed, "Content-Length is not a number")
        while p < end:
            if octets[p] < ord("0") or octets[p] > ord("9"):
                raise BadHead(self.malformed, "Content-Length is not a number")
            total = total * 10 + (octets[p] - ord("0"))
            p += 1
        return total

    def is_length(self) -> bool:
        """Return True if `length_value` would return a length."""
        octets = self.data
        p = self.value_start
        end = self.value_end
        while p < end and ord("0") <= octets[p] <= ord("9"):
            p += 1
        return p == end and 0 < end - self.value_start <= 18

    def is_plain_length(self) -> bool:
        """Return True if a length is spelled as we would: no leading zero, at most one space
        before it, nothing behind it. Such a line may go on as received."""
        octets = self.data
        p = self.value_start
        space = p - self.name_end - 1
        return (
            (space == 0 or (space == 1 and octets[p - 1] == ord(" ")))
            and self.position - self.value_end == 2
            and (octets[p] != ord("0") or self.value_end - p == 1)
        )


# Members of a list that is read, the empty ones included. Honest ones have a handful.
MAX_MEMBERS = 64


def list_tokens(value: bytes, malformed: Failure = Failure.BAD_REQUEST) -> list[bytes]:
    """Return the lower-cased members of a comma-separated field value; empty ones are left out.

    Raises: BadHead: `malformed` where a member is not a token, or there are more than MAX_MEMBERS.
    Connection names fields to remove: a member with a space in it could otherwise name a request
    line.
    """
    if value.count(b",") >= MAX_MEMBERS:
        raise BadHead(malformed, "a list of too many members")
    members = [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]
    for member in members:
        if member.translate(None, TCHAR + b"_."):
            raise BadHead(malformed, "a list member that is not a token")
    return members


def find_line(part: bytes, name: bytes) -> bytes | None:
    """Return the first value of the field `name` (lower case) in a run of well-formed lines."""
    for line in part.split(b"\r\n"):
        if line[: line.find(b":")].lower() == name:
            return line[line.find(b":") + 1 :].strip(b" \t")
    return None


def find_values(parts: Iterable[bytes], name: bytes) -> list[bytes]:
    """Return every value of the field `name` (lower case) in runs of well-formed lines."""
    return [
        line[line.find(b":") + 1 :].strip(b" \t")
        for part in parts
        for line in part.split(b"\r\n")
        if line[: line.find(b":")].lower() == name
    ]


def find_part(parts: Iterable[bytes], name: bytes) -> bytes | None:
    """Return the first value of the field `name` (lower case) in runs of well-formed lines."""
    for part in parts:
        value = find_line(part, name)
        if value is not None:
            return value
    return None
