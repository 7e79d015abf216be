"""Makes texts from outside safe for a terminal: names, paths, answers of a server.

Escape sequences move the cursor, rename the window or answer for the user; overrides of direction
show a text that is another one; a line break forges a line. All of them are shown as Python writes
them in a literal.
"""

from __future__ import annotations

import logging


def shown(text: str) -> str:
    """Return a text without anything that is not printable: `\\x1b[31m` for an escape sequence.

    Invisible characters count as not printable: direction overrides, zero width, line separators.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class LogFormatter(logging.Formatter):
    """Shows the message of a record as one line, and a traceback line by line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        record.message = shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: logging._SysExcInfoType) -> str:
        """Return a traceback."""
        return "\n".join(map(shown, super().formatException(ei).splitlines()))
