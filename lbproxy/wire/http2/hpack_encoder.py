"""Encodes the heads of answers, as HPACK packs them.

What is the same in most answers goes into the dynamic table, so that it costs one octet from the
second answer on. What one user alone may know never does (Set-Cookie, Location, ...): whoever can
make answers for somebody else and watch their length could guess it. All the rest is written out.
Nothing is Huffman coded: it would cost more than it saves on a fast network. Source: RFC 7541,
sections 6 and 7.1.
"""

from __future__ import annotations

from lbproxy.wire.http2.hpack_table import DEFAULT_SIZE, STATIC, DynamicTable

# Values of these are the same in many answers.
INDEXED = frozenset(
    b"accept-ranges access-control-allow-credentials access-control-allow-headers "
    b"access-control-allow-methods access-control-allow-origin access-control-expose-headers allow "
    b"alt-svc cache-control content-language content-security-policy content-type "
    b"cross-origin-opener-policy cross-origin-resource-policy expires p3p permissions-policy "
    b"pragma referrer-policy server strict-transport-security vary via x-content-type-options "
    b"x-frame-options x-powered-by x-robots-tag x-ua-compatible x-xss-protection".split()
)
# No table on the way may hold these.
NEVER_INDEXED = frozenset(
    b"authentication-info authorization location proxy-authenticate proxy-authentication-info "
    b"proxy-authorization refresh set-cookie set-cookie2 www-authenticate".split()
)
_INDEXED, _NEVER_INDEXED = INDEXED, NEVER_INDEXED
# A longer line would push too many others out of the table.
_MOST_INDEXED = 1024
# Lines that are remembered, those included that have left the table.
_MOST_KNOWN = 512

# Octets that a line may need beside its own.
_ROOM = 24

_WITH_INDEXING, _WITHOUT_INDEXING, _NEVER = 0x40, 0x00, 0x10
_SIX_BITS, _FOUR_BITS = 0x3F, 0x0F
_FIRST_DYNAMIC = len(STATIC) + 1
_STATUS_NAME = 8  # number of `:status`
_NAME_NUMBERS = {name: at + 1 for at, (name, _) in reversed([*enumerate(STATIC)])}
_STATUSES = {int(value): at + 1 for at, (name, value) in enumerate(STATIC) if name == b":status"}


class HpackEncoder:
    """One end of a connection, for all heads that it sends, in their order."""

    def __init__(self) -> None:
        self._table = DynamicTable(DEFAULT_SIZE)
        self._known: dict[bytes, int] = {}  # line -> which entry ever it was
        self._smallest: int = -1  # sizes of the table that the other end has to be told
        self._size: int = -1
        self._out = bytearray(1024)
        self._length: int = 0

    def allow(self, most: int) -> None:
        """Follow SETTINGS_HEADER_TABLE_SIZE of the other end. Args: most: octets of the table."""
        size = min(most, DEFAULT_SIZE)
        if size == self._table.limit:
            return
        if self._smallest < 0 or size < self._smallest:
            self._smallest = size
        self._size = size
        self._table.resize(size)

    def encode(self, status: int, lines: bytes) -> bytes:
        """Return the block of an answer's head.

        Args: status: of three digits; lines: fields as HTTP/1.1 writes them, each with CRLF at its
        end, names in any case; none of them about the connection.
        """
        self._begin(lines)
        if self._smallest >= 0:
            # Section 4.2: the smallest size in between, and the last one.
            if self._smallest != self._size:
                self._integer(0x20, 0x1F, self._smallest)
            self._integer(0x20, 0x1F, self._size)
            self._smallest = self._size = -1
        number = _STATUSES.get(status, 0)
        if number:
            self._integer(0x80, 0x7F, number)
        else:
            digits = b"%d" % status
            self._integer(_WITHOUT_INDEXING, _FOUR_BITS, _STATUS_NAME)
            self._string(digits, 0, len(digits))
        self._lines(lines)
        return bytes(self._out[: self._length])

    def encode_trailers(self, lines: bytes) -> bytes:
        """Return the block of fields behind a body. Args: lines: as of `encode`."""
        self._begin(lines)
        self._lines(lines)
        return bytes(self._out[: self._length])

    def _begin(self, lines: bytes) -> None:
        """Have room for what lines can become: a line's name and value each have their length
        before them, instead of colon and CRLF, and lengths of up to nine octets."""
        self._length = 0
        room = len(lines) + _ROOM * (lines.count(b"\n") + 1)
        if room > len(self._out):
            self._out = bytearray(room)

    def _lines(self, lines: bytes) -> None:
        octets = lines
        start = 0
        end = len(lines)
        while start < end:
            stop = start
            while octets[stop] != 13:  # CR ends each line, and is in none
                stop += 1
            self._line(lines, start, stop)
            start = stop + 2

    def _line(self, lines: bytes, start: int, stop: int) -> None:
        """Write one field."""
        octets = lines
        table = self._table
        line = lines[start:stop]
        known = self._known.get(line)
        if known is not None:
            age = table.inserted - known
            if age < table.count():
                self._integer(0x80, 0x7F, _FIRST_DYNAMIC + age)
                return
        colon = start
        while octets[colon] != 58:
            colon += 1
        name = lines[start:colon].lower()
        first = colon + 1
        while first < stop and (octets[first] == 32 or octets[first] == 9):
            first += 1
        while stop > first and (octets[stop - 1] == 32 or octets[stop - 1] == 9):
            stop -= 1
        number = _NAME_NUMBERS.get(name, 0)
        if name in _NEVER_INDEXED:
            self._integer(_NEVER, _FOUR_BITS, number)
        elif name in _INDEXED and len(line) <= _MOST_INDEXED and table.add(name, lines[first:stop]):
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[line] = table.inserted
            self._integer(_WITH_INDEXING, _SIX_BITS, number)
        else:
            self._integer(_WITHOUT_INDEXING, _FOUR_BITS, number)
        if not number:
            self._string(name, 0, len(name))
        self._string(lines, first, stop)

    def _string(self, text: bytes, start: int, stop: int) -> None:
        """Write a part of a text."""
        octets = text
        self._integer(0, 0x7F, stop - start)
        out = self._out
        length = self._length
        for at in range(start, stop):
            out[length] = octets[at]
            length += 1
        self._length = length

    def _integer(self, first: int, mask: int, value: int) -> None:
        """Write an integer. Args: first: the other bits of its first octet; mask: its own bits."""
        out = self._out
        length = self._length
        if value < mask:
            out[length] = first | value
            self._length = length + 1
            return
        out[length] = first | mask
        length += 1
        value -= mask
        while value >= 0x80:
            out[length] = value & 0x7F | 0x80
            length += 1
            value >>= 7
        out[length] = value
        self._length = length + 1
