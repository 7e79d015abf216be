"""The access log: one JSON object a line, written in large pieces.

A line costs no system call and no logging call; lines wait in memory until `flush`, which the
worker's tick calls. What may carry a secret never enters: no query, no cookie, and the value of a
path parameter (`;jsessionid=`) is written as `*`, because it is a session's key.

Strings from clients are bytes of unknown encoding. Each byte outside printable ASCII is written as
`\\u00XX`, so that nothing is lost, no terminal is steered, and every line is valid JSON.

Writing blocks: where standard output is a pipe, its reader has to keep up. It is not made
non-blocking, because that would change it for every process that shares it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time

_FLUSH_BYTES = 64 << 10
# What waits for a file that would block (somebody else made it non-blocking); then lines are lost.
_MAX_PENDING = 1 << 20
_REPORT_EVERY_S = 60.0
_MAX_NAMES = 4096
_STDOUT = 1

# SAFE[byte]: 1 where it stands in a JSON string as it is.
_SAFE = bytes(1 if 32 <= c < 127 and c not in b'"\\' else 0 for c in range(256))
# A path parameter up to its value, and the value; also percent-encoded, as some nodes decode first.
_PARAMETER = re.compile(rb"((?:;|%3b)(?:(?!=|%3d|;|%3b|/).)*(?:=|%3d))(?:(?!;|%3b|/).)+", re.I)

_logger = logging.getLogger(__name__)


def _escaped(value: bytes) -> str:
    """Return the inside of a JSON string."""
    safe = _SAFE
    for byte in value:
        if not safe[byte]:
            text = json.dumps(value.decode("latin-1")).replace("\x7f", "\\u007f")
            return text[1 : len(text) - 1]
    return value.decode("ascii")


def _escaped_path(target: bytes) -> str:
    """Return the path of a request target, path parameters masked, as the inside of a string."""
    end = len(target)
    careful = False
    for at in range(end):
        byte = target[at]
        if byte == 0x3F or byte == 0x23:  # ? #
            end = at
            break
        if byte == 0x3B or byte == 0x25:  # ; %
            careful = True
    path = target[:end]
    if careful:
        path = _PARAMETER.sub(rb"\1*", path)
    return _escaped(path)


class AccessLog:
    """The access log of one worker.

    Args: path: of the file, which is appended to and made where missing; `-` is standard output.
    Raises: OSError where the file cannot be opened, from the constructor alone.

    Attributes: lost: lines that could not be written since the start.
    """

    def __init__(self, path: str) -> None:
        self.lost: int = 0
        self._path: str = path
        self._fd: int = self._open()
        self._lines: list[str] = []
        self._size: int = 0
        self._second: int = -1
        self._time: str = ""
        self._names: dict[str, str] = {}
        self._pending: bytes = b""
        self._torn: bool = False
        self._reported: int = 0
        self._next_report: float = 0.0
        self._error: str = ""

    def write(
        self,
        now: float,
        client: str,
        method: bytes,
        host: bytes,
        target: bytes,
        status: int,
        bytes_in: int,
        bytes_out: int,
        duration_s: float,
        upstream_s: float,
        pool: str,
        node: str,
        sticky: str,
        retries: int,
        tls: str,
        reason: str,
        request_id: bytes,
    ) -> None:
        """Add the line of one exchange. Never raises, never waits unless 64 KiB are due.

        Args: now: Unix seconds at its end; client: an IP address; target: as sent; upstream_s:
        negative where no node answered; client, pool, node, sticky, tls, reason: empty for null.
        """
        second = int(now)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        millisecond = int((now - second) * 1000.0)
        duration = int(duration_s * 1e6)
        upstream = int(upstream_s * 1e6)
        upstream_ms = f"{upstream // 1000}.{upstream % 1000:03d}" if upstream_s >= 0 else "null"
        line = (
            f'{{"time":"{self._time}{millisecond:03d}Z","client":{self._name(client)}'
            f',"method":"{_escaped(method)}","host":"{_escaped(host)}"'
            f',"path":"{_escaped_path(target)}","status":{status}'
            f',"bytes_in":{bytes_in},"bytes_out":{bytes_out}'
            f',"duration_ms":{duration // 1000}.{duration % 1000:03d}'
            f',"upstream_ms":{upstream_ms},"pool":{self._name(pool)},"node":{self._name(node)}'
            f',"sticky":{self._name(sticky)},"retries":{retries},"tls":{self._name(tls)}'
            f',"reason":{self._name(reason)},"request_id":"{_escaped(request_id)}"}}\n'
        )
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _FLUSH_BYTES:
            self.flush()

    def _name(self, text: str) -> str:
        """Return a name as JSON, null for an empty one; names repeat, so they are remembered."""
        known = self._names.get(text)
        if known is None:
            known = json.dumps(text) if text else "null"
            if len(self._names) >= _MAX_NAMES:  # client addresses are many
                self._names.clear()
            self._names[text] = known
        return known

    def flush(self) -> None:
        """Write what waits. What cannot be written is counted, and reported once a minute."""
        if self._lines:
            data = "".join(self._lines).encode("ascii")
            self._lines = []
            self._size = 0
            if len(self._pending) > _MAX_PENDING:
                self.lost += data.count(b"\n")
            else:
                self._pending += data
        if self._pending:
            self._write_pending()
        if self.lost != self._reported and time.monotonic() >= self._next_report:
            _logger.error(
                "access log %s: %s; %d lines lost so far", self._path, self._error, self.lost
            )
            self._reported = self.lost
            self._next_report = time.monotonic() + _REPORT_EVERY_S

    def _write_pending(self) -> None:
        # Where an error cut a line off, the next one begins on its own.
        start = b"\n" if self._torn else b""
        data = start + self._pending
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except BlockingIOError as error:
            self._error = error.strerror or "would block"
            self._pending = data[done:]
            self._torn = False
            return
        except OSError as error:
            self._error = error.strerror or "cannot write"
            self.lost += data.count(b"\n", max(done, len(start)))
        if done:
            self._torn = data[done - 1] != 0x0A
        self._pending = b""

    def reopen(self) -> None:
        """Open the file anew, after log rotation moved it away; keeps the old one on failure."""
        self.flush()
        if self._path == "-":
            return
        try:
            opened = self._open()
        except OSError as error:
            _logger.error("access log %s: cannot reopen: %s", self._path, error.strerror)
            return
        os.close(self._fd)
        self._fd = opened
        self._torn = False

    def close(self) -> None:
        """Write what waits and close the file; standard output stays open."""
        self.flush()
        if self._path != "-":
            os.close(self._fd)

    def _open(self) -> int:
        if self._path == "-":
            return _STDOUT
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
