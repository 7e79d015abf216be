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
_RANDOM = 2 + 32  # with the version before it


def server_name(data: bytes) -> bytes | None:
    """Return the name in the ClientHello at the start of `data`, as sent; None while bytes lack.

    Empty where it names none, is none, or is longer than MAX_HELLO. Never raises.
    """
    message = b""
    at = 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        if message and (
            message[0] != _CLIENT_HELLO or int.from_bytes(message[1:4], "big") > MAX_HELLO
        ):
            return b""
        header = data[at : at + _RECORD_HEADER]
        if (header and header[0] != _HANDSHAKE) or at > 2 * MAX_HELLO:
            return b""
        if len(header) < _RECORD_HEADER:
            return None
        end = at + _RECORD_HEADER + int.from_bytes(header[3:], "big")
        # What came of a record counts already: a first byte that is wrong need not wait.
        message += data[at + _RECORD_HEADER : end]
        if end > len(data) and len(message) < 4 + int.from_bytes(message[1:4], "big"):
            wrong = message and message[0] != _CLIENT_HELLO
            return b"" if wrong or end - at > MAX_HELLO + _RECORD_HEADER else None
        if end == at + _RECORD_HEADER:
            return b""  # an empty record is none of a handshake
        at = end
    return _name_in(message[4 : 4 + int.from_bytes(message[1:4], "big")])


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
