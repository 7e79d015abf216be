"""Signals for who waits at descriptors: they come as bytes on a socket."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

_sockets: list[socket.socket] = []  # of `heard`


@contextmanager
def heard(numbers: Collection[signal.Signals]) -> Iterator[socket.socket]:
    """Have these signals come as bytes, their numbers, on a socket that does not block.

    What was held back since this program was executed comes now. For the main thread.
    """
    read, write = socket.socketpair()
    read.setblocking(False)
    write.setblocking(False)
    before = {number: signal.signal(number, _nothing) for number in numbers}
    waking = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
    _sockets.append(read)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    try:
        yield read
    finally:
        signal.set_wakeup_fd(waking)
        _sockets.remove(read)
        for number, handler in before.items():
            signal.signal(number, handler)
        read.close()
        write.close()


def hold_back() -> set[signal.Signals]:
    """Have signals wait from now on, those too that came and were not read; return the mask before.

    They come to the next program that is executed here as soon as it lets them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for sock in _sockets:
        with suppress(BlockingIOError):
            for number in sock.recv(64):
                signal.pthread_kill(threading.get_ident(), number)  # others may not hold it back
    return {each for each in before if isinstance(each, signal.Signals)}


def let_come(mask: set[signal.Signals]) -> None:
    """Let signals come as before. Args: mask: as `hold_back` returned it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _nothing(number: int, frame: object) -> None:
    """Handle a signal elsewhere: its number has been written to the socket."""
