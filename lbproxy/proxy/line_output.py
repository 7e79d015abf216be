"""Where lines of a log go, each of them whole, whoever else writes there.

What is appended to a regular file at once stays whole. In a pipe, the stream of a socket or a
terminal the kernel may mix what several processes write, unless a piece is short (PIPE_BUF); so
lines are written there in pieces that end where a line ends. A line that is longer takes several,
and a lock: every writer of lines takes it, on the file behind the descriptor itself (so nobody has
to hand it round), and the kernel lifts it if its owner dies. It is held until the line is out, and
no longer.

Nobody is waited for as long as the caller can keep what is left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import time

# What the kernel never mixes with what others write: 4,096 on Linux, the page that a pipe has room
# for if it is ready.
_PIECE = min(select.PIPE_BUF, 4096)
# So often, and so many milliseconds apart, a lock is tried by whoever has to write although the
# way is free: then its owner hangs.
_TRIES = 100
_TRY_MS = 10
_LINE_FEED = 0x0A


class LineOutput:
    """Writes lines to a descriptor. Args: fd: stays the caller's; blocking or not."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        mode = os.fstat(fd).st_mode
        self._mixes = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
        self._ready = select.poll()
        self._ready.register(fd, select.POLLOUT)
        self._locked = False
        self._amid = False  # a line is half out

    def write(self, data: bytes, due: int) -> tuple[int, OSError | None]:
        """Write lines; return how many bytes are out, and why not all.

        Args: data: goes on where the last call stopped; due: so many bytes of it are waited for, as
        far as the descriptor blocks. The error is BlockingIOError if the rest is for later; another
        one may have cut a line off.
        """
        if not self._mixes:
            return self._write(data, len(data), len(data))
        if not self._lock(due > 0):
            return 0, _for_later()
        done, error = self._write(data, due, _PIECE)
        if done:
            self._amid = data[done - 1] != _LINE_FEED
        if error is not None and not isinstance(error, BlockingIOError):
            self._amid = False
        if not self._amid:
            self._unlock()
        return done, error

    def wait(self, timeout_s: float) -> None:
        """Wait until something can be written, or the time is over."""
        self._ready.poll(timeout_s * 1000)

    def _write(self, data: bytes, due: int, most: int) -> tuple[int, OSError | None]:
        """Write pieces of at most so many bytes; return as `write`."""
        view = memoryview(data)
        done = 0
        try:
            while done < len(data):
                if done >= due and not self._ready.poll(0):
                    return done, _for_later()
                end = min(done + most, len(data))
                if end < len(data):
                    # The end of the last line that ends here; of a longer one as much as may be.
                    end = data.rfind(b"\n", done, end) + 1 or end
                done += os.write(self._fd, view[done:end])
        except OSError as error:
            return done, error
        return done, None

    def _lock(self, due: bool) -> bool:
        """Keep others from writing; False if they are and nothing is due."""
        tries = _TRIES
        while not self._locked:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._locked = True
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    return True  # no locks here: all but long lines are whole without
                if not due:
                    return False
                # Where nobody reads, its owner waits as well. Else it should be done by now.
                if self._ready.poll(_TRY_MS):
                    tries -= 1
                    time.sleep(_TRY_MS / 1000)
                if not tries:
                    return True
        return True

    def _unlock(self) -> None:
        if self._locked:
            self._locked = False
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


def _for_later() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
