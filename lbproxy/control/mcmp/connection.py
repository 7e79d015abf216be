"""One connection of a node: requests in, answers out, one after the other.

Nodes keep a connection for all their life and do not pipeline; what comes early waits. Reading
stops while an answer is under way and enough has come, or while the peer does not read.

A connection is in exactly one phase, and each has its time. Two facts stand beside it: whether
the peer has ended its side, and whether it reads; while it does not, that is what has a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, cast

from lbproxy.control.mcmp.access import Peer
from lbproxy.wire.mcmp import McmpFault
from lbproxy.wire.mcmp_answer import McmpAnswer, render_answer
from lbproxy.wire.mcmp_http import BadMessage, McmpRequest, RequestReader

_log = logging.getLogger("lbproxy.mcmp")
# Longer than a node's tick of 10 s several times over; it opens another connection by itself.
IDLE_S = 120.0
MESSAGE_S = 20.0  # a node gives up after so long, too
ANSWER_S = 15.0  # the longest PING, and some; a node waits for 20
WRITE_S = 20.0
# What still comes on a connection that ends is read for so long, so that the answer is not lost.
LINGER_S = 2.0


class _Phase(Enum):
    """What happens on a connection, if its peer reads."""

    IDLE = auto()  # between two messages
    HEARING = auto()  # a message has begun
    ANSWERING = auto()  # one is being carried out
    LINGERING = auto()  # answered for the last time: what still comes is let go by


_PATIENCE_S = {
    _Phase.IDLE: IDLE_S,
    _Phase.HEARING: MESSAGE_S,
    _Phase.ANSWERING: ANSWER_S + WRITE_S,  # the request has a time of its own
    _Phase.LINGERING: LINGER_S,
}
_FAILED = McmpAnswer(500, fault=McmpFault.MEM, message="MEM: lbproxy failed; see its log")


class Handler(Protocol):
    """Carries out requests."""

    def answer_at_once(self, request: McmpRequest, peer: Peer) -> McmpAnswer | None:
        """Carry out a request that waits for nothing; None if it is one for `handle`."""

    async def handle(self, request: McmpRequest, peer: Peer) -> McmpAnswer:
        """Carry out any request."""

    def note_bad(self, message: str, peer: Peer) -> None:
        """Take in that what a peer sent is no request; message: why."""


class McmpConnection(asyncio.Protocol):
    """Serves one peer that was admitted.

    Args: handler: carries out requests; max_body: bytes; gone: called once, at the end.
    Owns: its transport, and its task while a request is under way.
    """

    def __init__(
        self,
        peer: Peer,
        handler: Handler,
        max_body: int,
        gone: Callable[[McmpConnection], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.peer = peer
        self._handler = handler
        self._reader = RequestReader(max_body)
        self._gone = gone
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._phase = _Phase.IDLE
        self._eof = False
        self.deadline = clock() + MESSAGE_S  # the first request follows the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take in what came, and serve it unless a request is under way."""
        if self._phase is _Phase.LINGERING:
            return
        if self._reader.idle and self._phase is not _Phase.ANSWERING:
            self._enter(_Phase.HEARING)
        self._reader.feed(data)
        self._go_on()

    def eof_received(self) -> bool:
        """Finish what is under way."""
        self._eof = True
        # Over TLS there is no half of a connection.
        half = self._transport is not None and self._transport.can_write_eof()
        return half and self._phase is _Phase.ANSWERING

    def pause_writing(self) -> None:
        """Say nothing more until the peer reads."""
        self._writable.clear()
        self._enter(self._phase)

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()
        self._enter(self._phase)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything."""
        if self._task is not None:
            self._task.cancel()
        self._transport = None
        self._gone(self)

    def abort(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: float) -> None:
        """End the connection if its time is over."""
        if now >= self.deadline:
            self.abort()

    def _enter(self, phase: _Phase) -> None:
        """Go on to a phase, which has its whole time from now on."""
        self._phase = phase
        patience = _PATIENCE_S[phase] if self._writable.is_set() else WRITE_S
        self.deadline = self._clock() + patience

    def _settle(self) -> None:
        """A message was answered: the next one may have come, unless there is none."""
        if self._phase is not _Phase.LINGERING:
            self._enter(_Phase.IDLE if self._reader.idle else _Phase.HEARING)

    def _go_on(self) -> None:
        if self._phase is _Phase.HEARING:
            request = self._next()
            if request is not None and not self._answered(request):
                self._enter(_Phase.ANSWERING)
                task = asyncio.get_running_loop().create_task(
                    self._serve(request), name=f"mcmp {self.peer.text}"
                )
                self._task = task
                task.add_done_callback(self._served)
        self._steer_reading()

    def _answered(self, request: McmpRequest) -> bool:
        """Answer at once, without a task, what can be.

        Not if more has come behind it: between two requests of a peer the others have a turn.
        """
        if not self._reader.idle or not self._writable.is_set():
            return False
        try:
            answer = self._handler.answer_at_once(request, self.peer)
        except Exception:  # as in _serve
            _log.exception("peer %s: %s failed", self.peer.text, request.method)
            answer = _FAILED
        if answer is None:
            return False
        self._answer(answer, close=not request.keep_alive)
        self._settle()
        return True

    def _steer_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._phase is _Phase.ANSWERING and self._reader.full:
            transport.pause_reading()
        elif not self._eof:
            transport.resume_reading()

    def _next(self) -> McmpRequest | None:
        """Return the next request; refuse what cannot be read on."""
        try:
            return self._reader.next()
        except BadMessage as error:
            self._handler.note_bad(error.message, self.peer)
            if error.too_large:
                # A limit may be raised, so no node may take it for the last word.
                answer = McmpAnswer(500, fault=McmpFault.MEM, message=f"MEM: {error.message}")
            else:
                answer = McmpAnswer(error.status, message=error.message)
            self._answer(answer, close=True)
            return None

    async def _serve(self, request: McmpRequest) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._handler.handle(request, self.peer)
        except TimeoutError:
            answer = McmpAnswer(500, fault=McmpFault.MEM, message="MEM: it took too long")
        except Exception:  # our own fault: told to the log whole, and to the node to come again
            _log.exception("peer %s: %s failed", self.peer.text, request.method)
            answer = _FAILED
        await self._writable.wait()
        self._answer(answer, close=not request.keep_alive)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled() or self._transport is None:
            return
        self._settle()
        self._go_on()
        if self._eof and self._phase is not _Phase.ANSWERING and self._transport is not None:
            self._transport.close()

    def _answer(self, answer: McmpAnswer, *, close: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(render_answer(answer, close=close))
        if close:
            self._enter(_Phase.LINGERING)
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
