"""The server name that a TLS client asks for, read from its first message before OpenSSL sees it.

OpenSSL looks at a session ticket before it asks for the certificate of a name, so who wants tickets
to be good for one certificate only must know the name beforehand. Nothing else is read or judged
here: what is no ClientHello names nobody, and OpenSSL refuses it.
Source: RFC 8446 sections 4.1.2, 4.2 and 5.1; RFC 6066 section 3.
"""

from __future__ import annotations

# Real ones have half a KiB, with keys for post-quantum exchanges two.
MAX_HELLO = 16 << 10
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_RANDOM = 2 + 32  # with the version before it


class ClientHello:
    """The first message of one client, as it comes.

    Each byte is looked at once, in however small pieces and records the message comes: a peer that
    sends it so would else have it read from its beginning thousands of times.
    """

    def __init__(self) -> None:
        self._message = bytearray()  # what came of it, without the headers of its records
        self._header = bytearray()  # of the record that comes next, as far as it came
        self._left: int = 0  # of the present record
        self._headers: int = 0  # bytes of all of them

    def feed(self, data: bytes) -> bytes | None:
        """Take in what came; return the name, as sent, or None while bytes lack.

        Empty where it names none, is none, or is longer than MAX_HELLO; not to be called again once
        it has returned a name. Never raises.
        """
        message = self._message
        header = self._header
        at = 0
        while True:
            step = min(self._left, len(data) - at)
            message += data[at : at + step]
            self._left -= step
            at += step
            # What came of a record counts already: a first byte that is wrong need not wait.
            if message and message[0] != _CLIENT_HELLO:
                return b""
            if len(message) >= _MESSAGE_HEADER:
                size = int.from_bytes(message[1:_MESSAGE_HEADER], "big")
                if size > MAX_HELLO:
                    return b""
                if len(message) >= _MESSAGE_HEADER + size:
                    return _name_in(bytes(message[_MESSAGE_HEADER : _MESSAGE_HEADER + size]))
            if at == len(data):
                return None
            piece = data[at : at + _RECORD_HEADER - len(header)]
            header += piece
            at += len(piece)
            if header[0] != _HANDSHAKE:
                return b""
            if len(header) < _RECORD_HEADER:
                return None
            self._left = int.from_bytes(header[3:], "big")
            self._headers += _RECORD_HEADER
            header.clear()
            if not self._left or self._headers > MAX_HELLO:
                return b""  # an empty record is none of a handshake


def _name_in(hello: bytes) -> bytes:
    at = _RANDOM
    for size in (1, 2, 1):  # the session's id, the ciphers, the compressions
        at += size + int.from_bytes(hello[at : at + size], "big")
    extensions = _sized(hello, at)
    at = 0
    while at + 4 <= len(extensions):
        kind = int.from_bytes(extensions[at : at + 2], "big")
        content = _sized(extensions, at + 2)
        if kind == _SERVER_NAME:
            names = _sized(content, 0)
            return _sized(names, 1) if names[:1] == bytes((_HOST_NAME,)) else b""
        at += 4 + len(content)
    return b""


def _sized(data: bytes, at: int) -> bytes:
    """Return what stands behind its size, two bytes at `at`."""
    return data[at + 2 : at + 2 + int.from_bytes(data[at : at + 2], "big")]
