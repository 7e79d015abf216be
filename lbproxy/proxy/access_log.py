"""The access log: one JSON object a line, written in large pieces.

A line costs no system call and no logging call; lines wait in memory until `flush`, which the
worker's tick calls. What may carry a secret never enters: no query, no cookie, and the value of a
path parameter (`;jsessionid=`) is written as `*`, because it is a session's key.

Strings from clients are bytes of unknown encoding. Each byte outside printable ASCII is written as
`\\u00XX`, so that nothing is lost, no terminal is steered, and every line is valid JSON.

If standard output is a pipe, its reader has to keep up: lines wait for it up to 1 MiB, then the
worker does. The pipe is not made non-blocking, because that would change it for every process that
shares it; where somebody else has, lines beyond 1 MiB are lost, and counted. Several workers may
write to one file, pipe or socket (see `line_output`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from typing import TYPE_CHECKING

from lbproxy.proxy.line_output import LineOutput

if TYPE_CHECKING:
    from lbproxy.proxy.record import Record

_FLUSH_BYTES = 64 << 10
# What waits for a reader. Then he is waited for; if somebody made it non-blocking, lines are lost.
_MAX_PENDING = 1 << 20
_REPORT_EVERY_S = 60.0
_CLOSE_S = 1.0  # for the reader of what is left at the end
_MAX_NAMES = 4096
_STDOUT = 1
# Bytes of a line without its strings, generously: field names, numbers, time, sticky, tls.
_ROOM = 1024

# SAFE[byte]: 1 if it stands in a JSON string as it is.
_SAFE = bytes(1 if 32 <= c < 127 and c not in b'"\\' else 0 for c in range(256))
# A path parameter up to its value, and the value; also percent-encoded, as some nodes decode first.
_PARAMETER = re.compile(rb"((?:;|%3b)(?:(?!=|%3d|;|%3b|/).)*(?:=|%3d))(?:(?!;|%3b|/).)+", re.I)

_logger = logging.getLogger(__name__)


def _put(out: bytearray, end: int, piece: bytes) -> int:
    """Write `piece` at `end`, which has room for it; return the offset behind it."""
    source = piece
    for i in range(len(piece)):
        out[end + i] = source[i]
    return end + len(piece)


def _put_number(out: bytearray, end: int, number: int) -> int:
    """Write a number that is not negative in decimal digits."""
    digits = 1
    rest = number
    while rest >= 10:
        rest //= 10
        digits += 1
    at = end + digits
    while at > end:
        at -= 1
        out[at] = 48 + number % 10
        number //= 10
    return end + digits


def _put_milliseconds(out: bytearray, end: int, seconds: float) -> int:
    """Write seconds as milliseconds with three decimals."""
    microseconds = int(seconds * 1e6)
    fraction = microseconds % 1000
    end = _put_number(out, end, microseconds // 1000)
    out[end] = 46
    out[end + 1] = 48 + fraction // 100
    out[end + 2] = 48 + fraction // 10 % 10
    out[end + 3] = 48 + fraction % 10
    return end + 4


def _put_string(out: bytearray, end: int, value: bytes, size: int) -> int:
    """Write the inside of a JSON string: the first `size` bytes of `value`."""
    source = value
    safe = _SAFE
    for i in range(size):
        byte = source[i]
        if not safe[byte]:
            return _put(out, end, _escaped(value[:size]))
        out[end + i] = byte
    return end + size


def _escaped(value: bytes) -> bytes:
    """Return the inside of a JSON string that holds bytes to escape."""
    text = json.dumps(value.decode("latin-1")).replace("\x7f", "\\u007f")
    return text[1 : len(text) - 1].encode("ascii")


def masked(path: bytes) -> bytes:
    """Return a path with `*` for the values of path parameters, as every log shows it."""
    return _PARAMETER.sub(rb"\1*", path)


def _put_path(out: bytearray, end: int, target: bytes) -> int:
    """Write the path of a request target, the values of path parameters masked."""
    source = target
    size = len(target)
    careful = False
    for i in range(size):
        byte = source[i]
        if byte == 0x3F or byte == 0x23:  # ? #
            size = i
            break
        if byte == 0x3B or byte == 0x25:  # ; %
            careful = True
    if careful:
        target = masked(target[:size])
        size = len(target)
    return _put_string(out, end, target, size)


class AccessLog:
    """The access log of one worker.

    Args: path: of the file, which is appended to and made if missing; `-` is standard output.
    Other workers may write to the same.
    Raises: OSError if the file cannot be opened, from the constructor alone.

    Attributes: path; lost: lines that could not be written since the start.
    """

    def __init__(self, path: str) -> None:
        self.lost: int = 0
        self.path: str = path
        self._fd: int = self._open()
        self._output = LineOutput(self._fd)
        self._buffer: bytearray = bytearray(2 * _FLUSH_BYTES)
        self._end: int = 0
        self._second: int = -1
        self._time: bytes = b""
        self._names: dict[str, bytes] = {}
        self._pending: bytes = b""
        self._torn: bool = False
        self._reported: int = 0
        self._next_report: float = 0.0
        self._error: str = ""

    def write(self, record: Record, now: float, duration_s: float) -> None:
        """Add the line of one request. Never raises, never waits unless much is due.

        Args: now: Unix seconds at its end; duration_s: of all of it.
        """
        head = record.head
        target = head.asked or head.target
        asker = record.asker
        client = asker.address
        pool = "" if record.pool is None else record.pool.name
        node = "" if record.link is None else record.link.name
        reason = record.reason
        second = int(now)
        if second != self._second:
            self._second = second
            text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._time = b'{"time":"' + text.encode("ascii")
        # An escaped byte takes six; names are short, or they are counted here.
        room = _ROOM + 6 * (len(head.method) + len(head.authority) + len(target))
        room += 6 * (len(record.request_id) + len(client) + len(pool) + len(node) + len(reason))
        if self._end + room > len(self._buffer):
            self.flush()
            if room > len(self._buffer):
                self._buffer = bytearray(room)
        out = self._buffer
        end = _put(out, self._end, self._time)
        millisecond = int((now - second) * 1000.0)
        out[end] = 48 + millisecond // 100
        out[end + 1] = 48 + millisecond // 10 % 10
        out[end + 2] = 48 + millisecond % 10
        end = _put(out, end + 3, b'Z","client":')
        end = _put(out, end, self._name(client))
        end = _put(out, end, b',"method":"')
        end = _put_string(out, end, head.method, len(head.method))
        end = _put(out, end, b'","host":"')
        end = _put_string(out, end, head.authority, len(head.authority))
        end = _put(out, end, b'","path":"')
        end = _put_path(out, end, target)
        end = _put(out, end, b'","status":')
        end = _put_number(out, end, record.status)
        end = _put(out, end, b',"bytes_in":')
        end = _put_number(out, end, record.bytes_in)
        end = _put(out, end, b',"bytes_out":')
        end = _put_number(out, end, record.bytes_out)
        end = _put(out, end, b',"duration_ms":')
        end = _put_milliseconds(out, end, duration_s)
        end = _put(out, end, b',"upstream_ms":')
        if record.upstream_s < 0.0:
            end = _put(out, end, b"null")
        else:
            end = _put_milliseconds(out, end, record.upstream_s)
        end = _put(out, end, b',"queued_ms":')
        if record.queued_s <= 0.0:
            end = _put(out, end, b"0")
        else:
            end = _put_milliseconds(out, end, record.queued_s)
        end = _put(out, end, b',"pool":')
        end = _put(out, end, self._name(pool))
        end = _put(out, end, b',"node":')
        end = _put(out, end, self._name(node))
        end = _put(out, end, b',"sticky":')
        end = _put(out, end, self._name(record.sticky()))
        end = _put(out, end, b',"retries":')
        end = _put_number(out, end, record.retries)
        end = _put(out, end, b',"tls":')
        end = _put(out, end, self._name(asker.tls_version))
        end = _put(out, end, b',"reason":')
        end = _put(out, end, self._name(reason))
        end = _put(out, end, b',"request_id":"')
        end = _put_string(out, end, record.request_id, len(record.request_id))
        self._end = _put(out, end, b'"}\n')
        if self._end >= _FLUSH_BYTES:
            self.flush()

    def _name(self, text: str) -> bytes:
        """Return a name as JSON, null for an empty one; names repeat, so they are remembered."""
        known = self._names.get(text)
        if known is None:
            known = json.dumps(text).encode("ascii") if text else b"null"
            if len(self._names) >= _MAX_NAMES:  # client addresses are many
                self._names.clear()
            self._names[text] = known
        return known

    def flush(self) -> None:
        """Write what waits, as far as somebody reads; more than 1 MiB is waited for.

        What cannot be written is counted, and reported once a minute.
        """
        self._flush(_MAX_PENDING)

    def _flush(self, may_wait: int) -> None:
        """Flush. Args: may_wait: bytes that need not be out yet."""
        if self._end:
            data = bytes(self._buffer[: self._end])
            self._end = 0
            if len(self._pending) > _MAX_PENDING:
                self.lost += data.count(b"\n")
            else:
                self._pending += data
        if self._pending or self._torn:
            self._write_pending(may_wait)
        if self.lost != self._reported and time.monotonic() >= self._next_report:
            self._report()
            self._next_report = time.monotonic() + _REPORT_EVERY_S

    def _report(self) -> None:
        _logger.error("access log %s: %s; %d lines lost so far", self.path, self._error, self.lost)
        self._reported = self.lost

    def _write_pending(self, may_wait: int) -> None:
        # Where an error cut a line off, the next one begins on its own, another worker's as well.
        start = b"\n" if self._torn else b""
        data = start + self._pending
        done, error = self._output.write(data, len(data) - may_wait)
        if error is not None:
            self._error = error.strerror or "cannot write"
            if isinstance(error, BlockingIOError):
                self._pending = data[done:]
                self._torn = False
                return
            self.lost += data.count(b"\n", max(done, len(start)))
        if done:
            self._torn = data[done - 1] != 0x0A
        self._pending = b""

    def reopen(self) -> None:
        """Open the file again, after log rotation moved it away; keeps the old one on failure."""
        if self.path == "-":
            self.flush()
            return
        self._flush(0)  # what waits belongs to the old one
        try:
            opened = self._open()
        except OSError as error:
            _logger.error("access log %s: cannot reopen: %s", self.path, error.strerror)
            return
        os.close(self._fd)
        self._fd = opened
        self._output = LineOutput(opened)
        self._torn = False

    def close(self) -> None:
        """Write what waits and close the file; standard output stays open."""
        end = time.monotonic() + _CLOSE_S
        self._flush(0)
        while self._pending and time.monotonic() < end:
            self._output.wait(_CLOSE_S)  # somebody made it non-blocking
            self._flush(0)
        self.lost += self._pending.count(b"\n")
        self._pending = b""
        if self.lost != self._reported:
            self._report()
        if self.path != "-":
            os.close(self._fd)

    def _open(self) -> int:
        if self.path == "-":
            return _STDOUT
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
