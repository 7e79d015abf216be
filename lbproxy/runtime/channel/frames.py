"""Objects on a stream between two processes of one start: a length, then a pickle.

Both ends were forked from one image, so they agree on every class. Nothing from outside ever enters
such a stream: a pickle is code to whoever reads it.
"""

from __future__ import annotations

import pickle
import struct

_LENGTH = struct.Struct(">I")


def frame(message: object) -> bytes:
    """Return a message as it crosses."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Takes a stream apart, however it comes in pieces."""

    def __init__(self) -> None:
        self._got = bytearray()

    def feed(self, data: bytes) -> list[object]:
        """Return the messages that are whole now."""
        got = self._got
        got += data
        messages: list[object] = []
        start = 0
        while len(got) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(got, start)
            begin = start + _LENGTH.size
            if len(got) < begin + length:
                break
            messages.append(pickle.loads(memoryview(got)[begin : begin + length]))
            start = begin + length
        del got[:start]
        return messages
