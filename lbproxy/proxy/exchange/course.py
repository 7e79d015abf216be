"""How far an exchange is: its stage, whose turn it is, and until when."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from lbproxy.proxy.exchange.choice import Choice
from lbproxy.proxy.exchange.stages import (
    ANSWERING,
    ASKED,
    BEGUN,
    NO_CLOCK,
    NODE_CLOCK,
    OVER,
    ROOM,
    TUNNEL_CLOCK,
    clock,
    follows,
)
from lbproxy.proxy.transport.pipe import SLOW_NODE
from lbproxy.wire.http1_head import NO_BODY

if TYPE_CHECKING:
    from lbproxy.errors import Failure
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.exchange.downstream import Downstream
    from lbproxy.proxy.nodes.waiting import Cause, WaitEnd
    from lbproxy.proxy.rules import Rules

_NEVER = float("inf")


class Course(Choice):
    """The course of one exchange. `Exchange` is one, and acts on it.

    Attributes: rules: that held when it began; downstream: whose request it is; stage: of `stages`;
    deadline: monotonic seconds at which the stage is overdue; response_timeout: how long the node,
    or a place in the waiting room, has in seconds; sent_at: monotonic seconds at which the request
    was sent, negative if the clock is read then; whole: the client has sent all of the request;
    invited: the client was told to send the body that it holds back; held_for: reasons why the body
    is not read; early: what came of the body before there was an upstream; queued_at: monotonic
    seconds at which it came to wait for a node, or went on last.
    """

    def begin_course(self, desk: Desk, downstream: Downstream) -> None:
        """Set everything. (As `begin_record`.)"""
        self.begin_choice(desk)
        self.rules: Rules = desk.rules
        self.downstream = downstream
        self.stage: int = BEGUN
        self.deadline: float = _NEVER
        self.response_timeout: float = 0.0
        self.sent_at: float = self.started
        self.whole: bool = self.head.length == NO_BODY
        self.invited: bool = False
        self.held_for: int = 0
        self.early: bytes = b""
        self.queued_at: float = 0.0

    @property
    def responded(self) -> bool:
        """True if the node's answer has begun."""
        return self.stage >= ANSWERING and self.stage != OVER

    def enter(self, stage: int) -> None:
        """Go on to a stage. Raises: StageError: it may not follow."""
        self.stage = follows(self.stage, stage)

    def wait(self, failure: Failure) -> bool:
        """Enter the pool's waiting room, until a node can be asked; return False if it may not.

        Args: failure: why none can be now, and the answer when its time is over.
        """
        if self.knocks:
            self.queued_s += monotonic() - self.queued_at  # to knock in vain is to wait, too
        wait_s = self.wait_s(failure)
        if wait_s <= 0.0:
            return False
        pool = self.pool
        assert pool is not None
        queue = pool.settings.queue
        assert queue is not False  # or nobody would wait
        if not pool.waiting.enter(self, failure, queue.max):
            self.crowded = True
            return False
        self.enter(ROOM)
        self.link = self.chosen = None
        self.in_turn = False
        self.queued_at = monotonic()
        self.response_timeout = wait_s
        self.sent_at = -1.0
        if pool.limited:
            pool.waker.look_on()
        return True

    def leave_room(self, end: WaitEnd) -> Failure:
        """Leave the waiting room; return the answer that it would have got at last."""
        assert self.pool is not None
        now = monotonic()
        self.queued_s += now - self.queued_at
        self.queued_at = now
        return self.pool.waiting.leave(self, end)

    def hurry(self) -> None:
        """The worker ends: wait for a node no longer than the pool has requests wait, whatever
        nodes have announced."""
        if self.stage == ROOM:
            assert self.pool is not None
            queue = self.pool.settings.queue
            self.deadline = min(self.deadline, self.desk.now + (queue.wait if queue else 0.0))

    def try_again(self, now: float, cause: Cause) -> None:
        """See `Waiting`: leave the waiting room if a node can be asked now."""
        raise NotImplementedError

    def holds_back(self) -> bool:
        """Return True while the client keeps its body until the node says 100, or is taken to."""
        return self.head.expect and not (self.body_sent or self.invited or self.stage >= ANSWERING)

    def clients_turn(self) -> bool:
        """Return True if the client owes the next piece of its body."""
        return not (self.whole or self.held_for or self.holds_back())

    def limit(self, clients_turn: bool) -> None:
        """There was progress: what follows has its whole time. Args: as of `stages.clock`."""
        rules = self.rules
        kind = clock(self.stage, clients_turn)
        if self.downstream.write_paused:
            self.deadline = self.desk.now + rules.write_timeout
        elif kind == NODE_CLOCK:
            self.deadline = self.desk.now + self.response_timeout
        elif kind == NO_CLOCK:
            self.deadline = _NEVER
        elif kind == TUNNEL_CLOCK:
            self.deadline = self.desk.now + rules.tunnel_timeout
        else:
            self.deadline = self.desk.now + rules.body_timeout

    def heard(self) -> None:
        """The client has sent something of its body."""
        if self.stage >= ASKED:
            self.limit(not self.whole)

    def hold(self, why: int) -> None:
        """Read no more of the body. Args: why: NO_NODE or SLOW_NODE; then it is the node's turn."""
        self.held_for |= why
        self.downstream.hold(why)
        if why == SLOW_NODE:
            self.limit(False)

    def release(self, why: int) -> None:
        """This reason not to read the body is gone."""
        if self.held_for & why:
            self.held_for &= ~why
            self.downstream.go_on(why)
            if why == SLOW_NODE:
                self.limit(self.clients_turn())

    def keep_early(self, payload: bytes) -> None:
        """Keep a piece of the body for an upstream that is still to come, or to be trusted.

        The client is not read any further, so this stays one buffer.
        """
        self.early = self.early + payload if self.early else payload

    def take_early(self) -> bytes:
        """Return what came of the body before there was an upstream, once."""
        early = self.early
        self.early = b""
        return early
