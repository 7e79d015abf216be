"""The channel between the supervisor and a child: whole messages, as JSON, with descriptors.

A message is an object: its name under `is`, and its fields. What this version does not know of a
message it leaves out, and what it misses has its default: the two ends may be of two versions.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

from lbproxy.control.reloading import History, ReloadOutcome, UpgradeOutcome
from lbproxy.runtime.orders import Order, Word

_LARGEST = 192 << 10  # bytes of a message: below what a socket's buffer takes by default
_MOST_DESCRIPTORS = 253  # as the kernel, SCM_MAX_FD
_KINDS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (*get_args(Order), *get_args(Word), History, ReloadOutcome, UpgradeOutcome)
}


def encode(message: object) -> bytes:
    """Return a message as it crosses."""
    return json.dumps(_plain(message), separators=(",", ":")).encode()


def decode(data: bytes) -> Order | Word | None:
    """Return a message, None for one that this version does not know."""
    found: Order | Word | None = decode_value(data)
    return found


def decode_value(data: bytes) -> Any:
    """Return what `encode` was given, None for what this version does not know."""
    try:
        return _whole(json.loads(data))
    except (KeyError, ValueError):
        return None


def _plain(value: object) -> object:
    if is_dataclass(value):
        names = (field.name for field in fields(value))
        return {"is": type(value).__name__} | {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _whole(value: Any) -> Any:
    """Raises: KeyError: it is unknown, or something is missing."""
    if isinstance(value, list):
        return tuple(_whole(each) for each in value)
    if not isinstance(value, dict):
        return value
    kind = _KINDS[value["is"]]
    found = {}
    for field in fields(kind):
        if field.name in value:
            found[field.name] = _whole(value[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise KeyError(field.name)
    return kind(**found)


class OrderChannel:
    """One end of a channel of orders and words. Owns its socket.

    Messages stay whole and in order. What the other end does not take at once waits here.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()

    @classmethod
    def of(cls, descriptor: int) -> OrderChannel:
        """Return the end that another program has left behind."""
        return cls(socket.socket(fileno=descriptor))

    @classmethod
    def pair(cls) -> tuple[OrderChannel, OrderChannel]:
        """Return both ends of a new channel."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the descriptor to wait at."""
        return self._socket.fileno()

    @property
    def has_waiting(self) -> bool:
        """True if something could not be sent yet: call `flush` if the socket can be written."""
        return bool(self._waiting)

    def send(self, message: Order | Word, *descriptors: int) -> None:
        """Send a message, now or when the other end takes it. Never raises.

        Args: descriptors: go with it, and are closed here as soon as they are sent.
        """
        self._waiting.append((encode(message), descriptors))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the other end takes it."""
        while self._waiting:
            data, descriptors = self._waiting[0]
            try:
                if descriptors:
                    socket.send_fds(self._socket, [data], descriptors)
                else:
                    self._socket.send(data)
            except BlockingIOError:
                return
            except OSError:
                pass  # the other end is gone: its end is noticed elsewhere
            self._waiting.popleft()
            for each in descriptors:
                os.close(each)

    def receive(self) -> tuple[Order | Word | None, list[int]] | None:
        """Return a message, None for one that this version does not know, and its descriptors,
        which are the caller's now; None at the end.

        Raises: BlockingIOError: nothing is there.
        """
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._socket, _LARGEST, _MOST_DESCRIPTORS)
        except BlockingIOError:
            raise
        except OSError:
            return None
        if not data:
            return None
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        for each in descriptors:
            os.set_inheritable(each, False)
        return decode(data), descriptors

    def detach(self) -> int:
        """Give up the descriptor, and return it: it stays open."""
        return self._socket.detach()

    def close(self) -> None:
        """Close it; may be called again."""
        for _, descriptors in self._waiting:
            for each in descriptors:
                os.close(each)
        self._waiting.clear()
        self._socket.close()
