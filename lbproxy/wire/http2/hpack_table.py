"""The tables of HPACK: the static one, and a dynamic one, which both ends keep alike.

Source: RFC 7541, sections 2.3 and 4 and appendix A.
"""

from __future__ import annotations

# Name and value, in the order of their numbers, which begin at 1.
STATIC = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)
# Octets that an entry counts beside its name and value.
ENTRY_OVERHEAD = 32
# Octets of a table unless the ends agree on something else (RFC 9113, section 6.5.2).
DEFAULT_SIZE = 4096

_NAMES = [name for name, _ in STATIC]
_VALUES = [value for _, value in STATIC]
_STATIC_COUNT = len(STATIC)
_OVERHEAD = ENTRY_OVERHEAD
# Entries that have left are cleared away when there are so many.
_SLACK = 256


class DynamicTable:
    """A dynamic table. The numbers of its entries follow those of the static one, newest first.

    Args: limit: octets that it may hold.

    Attributes: size: octets that it holds; inserted: entries ever, so that an entry has a number
    that stays.
    """

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.size: int = 0
        self.inserted: int = 0
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._first: int = 0  # of those that are still there

    def count(self) -> int:
        """Return how many entries there are."""
        return len(self._names) - self._first

    def name(self, number: int) -> bytes:
        """Return the name of an entry, of either table. Raises: IndexError: there is none."""
        if number <= _STATIC_COUNT:
            if number <= 0:
                raise IndexError(number)
            return _NAMES[number - 1]
        at = len(self._names) - (number - _STATIC_COUNT)
        if at < self._first:
            raise IndexError(number)
        return self._names[at]

    def value(self, number: int) -> bytes:
        """Return the value of an entry, of either table. Raises: IndexError: there is none."""
        if number <= _STATIC_COUNT:
            if number <= 0:
                raise IndexError(number)
            return _VALUES[number - 1]
        at = len(self._values) - (number - _STATIC_COUNT)
        if at < self._first:
            raise IndexError(number)
        return self._values[at]

    def add(self, name: bytes, value: bytes) -> bool:
        """Insert an entry, for which others leave; one that is larger than the table empties it.

        Returns: False if it is not in the table.
        """
        size = len(name) + len(value) + _OVERHEAD
        self._shrink(self.limit - size)
        if size > self.limit:
            return False
        self._names.append(name)
        self._values.append(value)
        self.size += size
        self.inserted += 1
        return True

    def resize(self, limit: int) -> None:
        """Let it hold no more than so many octets."""
        self.limit = limit
        self._shrink(limit)

    def _shrink(self, size: int) -> None:
        """Have entries leave, the oldest first, until it holds at most so many octets."""
        names, values = self._names, self._values
        first = self._first
        while self.size > size and first < len(names):
            self.size -= len(names[first]) + len(values[first]) + _OVERHEAD
            names[first] = values[first] = b""  # gone, but not yet from the list
            first += 1
        self._first = first
        if first > _SLACK:
            del names[:first]
            del values[:first]
            self._first = 0
