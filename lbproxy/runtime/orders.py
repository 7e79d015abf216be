"""What the supervisor and its children say to each other, with descriptors if need be."""

from __future__ import annotations

import os
import pickle
import socket
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from lbproxy.control.reloading import History, ReloadOutcome

_LARGEST = 64 << 10  # bytes of an order
_MOST_DESCRIPTORS = 253  # as the kernel, SCM_MAX_FD


@dataclass(frozen=True, slots=True)
class Attach:
    """To both ends: here is your stream to the other one, as a descriptor.

    Args: worker: its number, of which there is never another one.
    """

    worker: int


@dataclass(frozen=True, slots=True)
class Lend:
    """To a worker: accept on the sockets of the worker at this place, too."""

    place: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """To a worker: accept no more on the sockets of the worker at this place."""

    place: int


@dataclass(frozen=True, slots=True)
class ShutDown:
    """To control: say at /readyz that no traffic should come any more."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: accept no more, let exchanges end within `timeouts.drain`, and end."""


@dataclass(frozen=True, slots=True)
class Stop:
    """To a child: end at once."""


@dataclass(frozen=True, slots=True)
class ReopenLog:
    """To a worker: open the access log again."""


@dataclass(frozen=True, slots=True)
class Follow:
    """To a child: follow another configuration, which comes as `following.pack` makes it."""

    number: int


@dataclass(frozen=True, slots=True)
class Know:
    """To control: what became of the configuration since the start."""

    history: History


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """To control: what came of a reload that it asked for. Args: number: of the question."""

    number: int
    outcome: ReloadOutcome


@dataclass(frozen=True, slots=True)
class AreYouThere:
    """To a child: answer, to show that the event loop turns. Args: number: of the question."""

    number: int


Order: TypeAlias = (
    Attach
    | Lend
    | GiveBack
    | ShutDown
    | Drain
    | Stop
    | ReopenLog
    | Follow
    | Know
    | ReloadAnswer
    | AreYouThere
)


@dataclass(frozen=True, slots=True)
class Ready:
    """From a child: it serves."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """From a worker: it was told by somebody else to end, and accepts no more."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From a child: it cannot begin. Args: why: says what to do."""

    why: str


@dataclass(frozen=True, slots=True)
class Declined:
    """From a child: it cannot do what an order says. Args: why: says what to do."""

    order: Order
    why: str


@dataclass(frozen=True, slots=True)
class AskReload:
    """From control: somebody wants the configuration read again.

    Args: number: of the question; dry_run: only the plan is wanted.
    """

    number: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Done:
    """From a child: it has done what an order says."""

    order: Order


@dataclass(frozen=True, slots=True)
class Here:
    """From a child: the answer to `AreYouThere`."""

    number: int


Word: TypeAlias = Ready | Leaving | Failed | Declined | AskReload | Done | Here


class OrderChannel:
    """One end of a channel of orders and words. Owns its socket.

    Messages stay whole and in order. What the other end does not take at once waits here.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()

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
        self._waiting.append((pickle.dumps(message), descriptors))
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

    def receive(self) -> tuple[object, list[int]] | None:
        """Return a message and its descriptors, which are the caller's now; None at the end.

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
        return pickle.loads(data), descriptors

    def close(self) -> None:
        """Close it; may be called again."""
        for _, descriptors in self._waiting:
            for each in descriptors:
                os.close(each)
        self._waiting.clear()
        self._socket.close()
