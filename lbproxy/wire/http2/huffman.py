"""The Huffman code of HPACK's strings.

The code is canonical: the lengths of its words say all. Decoding goes by half octets: a state is a
node of the tree, and the shortest word has five bits, so a half octet completes at most one word.
Source: RFC 7541, section 5.2 and appendix B.
"""

from __future__ import annotations

# How many bits the word of each octet has; the last one is the end of the string, which no string
# may contain.
LENGTHS = (
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28),
    *(28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28),
    *(6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6),
    *(5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10),
    *(13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7),
    *(7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6),
    *(15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5),
    *(6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28),
    *(20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23),
    *(24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24),
    *(22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23),
    *(21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23),
    *(26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25),
    *(19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27),
    *(20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23),
    *(26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26),
    30,
)
END = 256
_MAX_PADDING = 7  # bits
_EMITS = 1  # a half octet completes a word
_BAD = 2  # or leads to the end of the string, which must not be written out


class BadHuffman(ValueError):
    """A string is not what the code allows."""


def words() -> list[int]:
    """Return the word of each octet, and of the end, as a number of LENGTHS bits."""
    found = [0] * len(LENGTHS)
    word = bits = 0
    for octet in sorted(range(len(LENGTHS)), key=lambda each: (LENGTHS[each], each)):
        word <<= LENGTHS[octet] - bits
        bits = LENGTHS[octet]
        found[octet] = word
        word += 1
    return found


def _tree() -> list[list[int]]:
    """Return the nodes: by bit the next node, or -1 - octet for a leaf. The first one is the
    root."""
    nodes = [[0, 0]]
    for octet, word in enumerate(words()):
        node = 0
        for bit in range(LENGTHS[octet] - 1, 0, -1):
            turn = word >> bit & 1
            if not nodes[node][turn]:
                nodes.append([0, 0])
                nodes[node][turn] = len(nodes) - 1
            node = nodes[node][turn]
        nodes[node][word & 1] = -1 - octet
    return nodes


def _automaton() -> tuple[bytes, bytes, bytes, bytes]:
    """Return, by state and half octet, the next state, what happens and the octet of a word; and by
    state whether a string may end there."""
    nodes = _tree()
    following, acts, octets = bytearray(), bytearray(), bytearray()
    for state in range(len(nodes)):
        for half in range(16):
            node, act, octet = state, 0, 0
            for bit in (3, 2, 1, 0):
                node = nodes[node][half >> bit & 1]
                if node < 0:
                    octet = -1 - node
                    act = _BAD if octet == END else _EMITS
                    node = 0
            following.append(node)
            acts.append(act)
            octets.append(octet & 0xFF)
    ends = bytearray(len(nodes))
    node = 0
    for _ in range(_MAX_PADDING + 1):
        ends[node] = 1
        node = nodes[node][1]
    return bytes(following), bytes(acts), bytes(octets), bytes(ends)


_NEXT, _ACTS, _OCTETS, _ENDS = _automaton()


def decode(data: bytes, start: int, stop: int) -> bytes:
    """Return what a string says. Args: start, stop: of the string in `data`.

    The result has at most 8/5 of its octets. Raises: BadHuffman: it ends in the midst of a word, or
    with more or other padding than allowed, or holds the end of the string.
    """
    octets = data
    following, acts, symbols = _NEXT, _ACTS, _OCTETS
    out = bytearray((stop - start) * 8 // 5 + 1)
    length = 0
    state = 0
    for at in range(start, stop):
        octet = octets[at]
        step = state * 16 + (octet >> 4)
        state = following[step]
        act = acts[step]
        if act:
            if act == _BAD:
                raise BadHuffman("the end of the string is written out")
            out[length] = symbols[step]
            length += 1
        step = state * 16 + (octet & 15)
        state = following[step]
        act = acts[step]
        if act:
            if act == _BAD:
                raise BadHuffman("the end of the string is written out")
            out[length] = symbols[step]
            length += 1
    if not _ENDS[state]:
        raise BadHuffman("the string does not end with its padding")
    return bytes(out[:length])
