"""Decodes blocks of fields, as HPACK packs them, within bounds.

A block that holds more than its receiver wants is read to its end all the same, because the table
has to follow; but nothing of it is kept, so it costs no more than its octets. Source: RFC 7541.
"""

from __future__ import annotations

from lbproxy.wire.http2.hpack_table import DEFAULT_SIZE, ENTRY_OVERHEAD, DynamicTable
from lbproxy.wire.http2.huffman import BadHuffman
from lbproxy.wire.http2.huffman import decode as decode_huffman

# An integer that needs more octets than this is none that a field could have.
_MOST_SHIFT = 21
# A table may change its size at the beginning of a block, to the smallest and the last of several
# sizes (section 4.2).
_MOST_RESIZES = 2


class BadHpack(ValueError):
    """A block cannot be decoded: the connection is lost, since the tables differ now."""


class HpackDecoder:
    """One end of a connection, for all blocks that it receives, in their order.

    Args: most: octets of the dynamic table that we allow (SETTINGS_HEADER_TABLE_SIZE).

    Attributes: fields: of the last block, names and values in turn; none if it was too large.
    """

    def __init__(self, most: int = DEFAULT_SIZE) -> None:
        self._most: int = most
        self._table = DynamicTable(most)
        self.fields: list[bytes] = []
        self._block: bytes = b""
        self._at: int = 0
        self._stop: int = 0

    def decode(self, block: bytes, most_fields: int, most_octets: int) -> bool:
        """Decode a block, whole, into `fields`.

        Args: most_fields, most_octets: that are wanted; octets count as in a table (RFC 9113,
        section 10.5.1): name, value and 32.
        Returns: False if there are more: then `fields` is empty. Raises: BadHpack.
        """
        octets = block
        self._block = block
        self._at = 0
        self._stop = len(block)
        fields = self.fields = []
        table = self._table
        left = most_octets
        resizes = 0
        wanted = True
        try:
            while self._at < self._stop:
                first = octets[self._at]
                if first & 0x80:
                    number = self._integer(0x7F)
                    name, value = table.name(number), table.value(number)
                elif first & 0xE0 == 0x20:
                    if fields or not wanted or resizes == _MOST_RESIZES:
                        raise BadHpack("a change of the table's size among fields")
                    resizes += 1
                    size = self._integer(0x1F)
                    if size > self._most:
                        raise BadHpack(f"a table of {size} octets, and {self._most} are allowed")
                    table.resize(size)
                    continue
                else:
                    number = self._integer(0x3F if first & 0x40 else 0x0F)
                    name = table.name(number) if number else self._string()
                    value = self._string()
                    if first & 0x40:
                        table.add(name, value)
                if wanted:
                    left -= len(name) + len(value) + ENTRY_OVERHEAD
                    if left < 0 or len(fields) >= 2 * most_fields:
                        wanted = False
                        fields.clear()
                    else:
                        fields.append(name)
                        fields.append(value)
        except IndexError:
            raise BadHpack("a number that is in no table") from None
        except BadHuffman as error:
            raise BadHpack(str(error)) from None
        return wanted

    def _integer(self, mask: int) -> int:
        """Read an integer. Args: mask: the bits of its first octet. Raises: BadHpack."""
        octets = self._block
        at, stop = self._at, self._stop
        value = octets[at] & mask
        at += 1
        if value == mask:
            shift = 0
            while True:
                if at >= stop:
                    raise BadHpack("it ends in the midst of an integer")
                octet = octets[at]
                at += 1
                value += (octet & 0x7F) << shift
                if octet < 0x80:
                    break
                shift += 7
                if shift > _MOST_SHIFT:
                    raise BadHpack("an integer is too large")
        self._at = at
        return value

    def _string(self) -> bytes:
        """Read a string. Raises: BadHpack, BadHuffman."""
        if self._at >= self._stop:
            raise BadHpack("it ends where a string should begin")
        packed = self._block[self._at] & 0x80
        length = self._integer(0x7F)
        start = self._at
        if length > self._stop - start:
            raise BadHpack("a string is longer than its block")
        self._at = start + length
        if packed:
            return decode_huffman(self._block, start, start + length)
        return self._block[start : start + length]
