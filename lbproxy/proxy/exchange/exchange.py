"""One request and its response, from the parsed head to the access-log line.

The downstream feeds the request in (`go`, `take`), the upstream feeds the response in (`respond`,
`body`), and whichever side fails says so (`fail`, `gone`). What an exchange holds, what limits it
and what may follow is the table in `stages`; it ends exactly once, in `_end`.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from lbproxy.errors import ConnectError, Failure
from lbproxy.proxy import answers
from lbproxy.proxy.exchange.connecting import connect
from lbproxy.proxy.exchange.course import Course
from lbproxy.proxy.exchange.stages import (
    ANSWERING,
    ASKED,
    BEGUN,
    CONNECTING,
    LINK,
    OVER,
    PARKED,
    PINGING,
    PLACE,
    ROOM,
    TASK,
    TUNNEL,
    holds,
    late,
)
from lbproxy.proxy.exchange.upstream import Upstream
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.waiting import WaitEnd
from lbproxy.proxy.transport.pipe import NO_NODE, SLOW_NODE
from lbproxy.wire.fields import find_part
from lbproxy.wire.http1_head import HEAD, NO_BODY
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.request_head import RequestHead

if TYPE_CHECKING:
    from lbproxy.proxy.answers import OwnAnswer
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.exchange.downstream import Downstream
    from lbproxy.proxy.forwarding.asker import Asker
    from lbproxy.proxy.nodes.waiting import Cause
    from lbproxy.wire.ajp13_request import Facts

_log = logging.getLogger("lbproxy.worker")
_NEVER = float("inf")


class Exchange(Course):
    """One request and its response.

    Args: downstream: whose request it is; asker, head, started: as of `Record`.

    Attributes: trailers, request_trailers: of the response and the request, as lines.
    """

    def __init__(
        self, desk: Desk, downstream: Downstream, asker: Asker, head: RequestHead, started: float
    ) -> None:
        self.desk = desk
        self.head = head
        request_id = self.head.request_id or self.desk.request_id()
        self.begin_record(asker, head, started, request_id)
        self.begin_course(desk, downstream)
        self.upstream: Upstream | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.request_trailers: bytes = b""
        self.trailers: bytes = b""

    # Towards the node.

    def try_again(self, now: float, cause: Cause) -> None:
        """Leave the waiting room if a node can be asked now. Args: now: monotonic seconds."""
        if self.choose_again(now, cause) is not None:
            self.leave_room(WaitEnd.SERVED)
            self.enter(BEGUN)
            self.go()

    def go(self) -> None:
        """Send the request to the node that was chosen; if none was, it waits for one."""
        link = self.chosen
        if link is not None:
            self._start(link)
            return
        if not self.whole:
            self.hold(NO_NODE)
        self.limit(False)

    def _start(self, link: Link) -> None:
        """Send the request to the node of `link`."""
        self.enter(PARKED)
        self.count_in(link)
        self.response_timeout = link.response_timeout
        self.limit(False)
        if not link.idle:
            self._connect(link)
        elif self.head.length != NO_BODY or not self.head.idempotent():
            self._send(True)
        else:
            self._park()

    def _park(self) -> None:
        """Send the request at the end of this turn of the event loop.

        By then the loop has heard of every end and every byte that came on node connections
        together with the request, and those connections are gone from the idle ones. This costs
        one callback a turn; asking the kernel would cost a system call a request.
        """
        ready = self.desk.ready
        ready.append(self)
        if len(ready) == 1:
            asyncio.get_running_loop().call_soon(send_parked, self.desk)

    def _send(self, look: bool) -> None:
        """Send the request on an idle connection, or on a new one. Args: look: see `Link.take`."""
        link = self.link
        assert link is not None
        connection = link.take(look)
        if connection is None:
            self._connect(link)
        else:
            speaker = connection.speaker
            assert isinstance(speaker, Upstream)
            self._attach(speaker)

    def _attach(self, upstream: Upstream) -> None:
        self.connecting = None
        self.upstream = upstream
        try:
            upstream.begin(self)
        except Exception:
            _log.exception("a fault of lbproxy while sending a request")
            if self.stage != OVER:  # connecting has no limit of ours that would end it
                self.break_off(Failure.CONNECT_FAILED)

    def _connect(self, link: Link) -> None:
        self.enter(CONNECTING)
        self.deadline = _NEVER  # connecting has its own limit
        self.sent_at = -1.0
        if not self.whole:
            self.hold(NO_NODE)
        tasks = self.desk.tasks
        self.connecting = task = asyncio.get_running_loop().create_task(self._connected(link))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _connected(self, link: Link) -> None:
        try:
            speaker = await connect(self.desk, link)
        except ConnectError as error:
            self.fail(error.failure, str(error))
        else:
            assert isinstance(speaker, Upstream)
            self._attach(speaker)

    def take(self, payload: bytes, last: bool) -> None:
        """Take a piece of the request's body, without framing. Args: last: it ends with it."""
        if last:
            self.whole = True
            self.heard()
        upstream = self.upstream
        if upstream is not None:
            upstream.send_body(payload, last)
        else:
            self.keep_early(payload)

    # What the upstream says of the request.

    def pinging(self) -> None:
        """The node is asked for a sign of life before it gets the request."""
        self.enter(PINGING)
        if not self.whole:
            self.hold(NO_NODE)
        self.limit(False)

    def asked(self) -> None:
        """The upstream sends the request now."""
        self.enter(ASKED)
        # Usually the request is sent at once; then `started` will do, and no clock is read.
        if self.sent_at < 0.0:
            self.sent_at = monotonic()
        if self.held_for:
            self.release(NO_NODE)
        self.limit(self.clients_turn())

    def took(self) -> None:
        """The node has taken what was sent of the body, and it is its turn again."""
        self.limit(False)

    def invite(self) -> None:
        """The body is wanted: a client that waits for 100 Continue gets it."""
        if self.holds_back():
            self.invited = True
            self.limit(self.clients_turn())  # from here on the body is the client's to send
            self.downstream.interim(None)

    def facts(self) -> Facts:
        """Return what a node is told over AJP of who asks."""
        return self.downstream.facts()

    # From the node.

    def pass_interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx other than 101."""
        asked = self.holds_back()
        self.invited = True
        if asked:
            self.limit(self.clients_turn())
        self.downstream.interim(head)

    def respond(self, head: ResponseHead, payload: bytes, complete: bool) -> None:
        """The response has begun: send its head and what is there of its body."""
        self.enter(ANSWERING)
        now = self._begin_answer(head)
        link = self.link
        assert link is not None
        link.answered(now, self.upstream_s)
        if self.rules.tells_request_id and find_part(head.parts, b"x-request-id") is None:
            head.parts.append(b"X-Request-Id: " + self.request_id + b"\r\n")
        self.bytes_out = len(payload)
        self.downstream.respond(head, payload, complete)
        if complete:
            self.finish(now)
        else:
            self.limit(False)

    def _begin_answer(self, head: ResponseHead) -> float:
        """Note when the answer began, and add what every answer gets; return the time."""
        now = monotonic()
        link = self.link
        assert link is not None
        link.heard_at = now
        self.upstream_s = now - self.sent_at
        self.status = head.status
        if not head.dated:
            head.parts.append(b"Date: " + self.desk.date() + b"\r\n")
        if self.verdict is not None:
            self.keep_session(head)
        return now

    def body(self, payload: bytes, complete: bool) -> None:
        """Pass on a piece of the response's body; `complete`: it was the last one."""
        self.bytes_out += len(payload)
        if payload or complete:
            self.downstream.body(payload, complete)
        if complete:
            self.finish(monotonic())
        else:
            self.limit(False)

    # Tunnels.

    def open_tunnel(self, head: ResponseHead) -> None:
        """The node has agreed to the upgrade that the client asked for."""
        self.enter(TUNNEL)
        self._begin_answer(head)
        self.limit(False)
        self.downstream.tunnel(head)

    def tunnel_up(self, data: bytes) -> None:
        """Bytes of the client."""
        self.limit(False)
        self.bytes_in += len(data)
        if self.upstream is not None:
            self.upstream.write(data)

    def tunnel_down(self, data: bytes) -> None:
        """Bytes of the node."""
        self.bytes_out += len(data)
        self.downstream.write(data)
        self.limit(False)

    def tunnel_closed(self) -> None:
        """The node ended the tunnel; what it sent before is still delivered."""
        self.downstream.finish()
        self.finish(monotonic())

    # Time.

    def slow(self) -> None:
        """The client reads slower than the node sends."""
        self.limit(False)
        if self.upstream is not None:
            self.upstream.pause()

    def caught_up(self) -> None:
        """The client has read what waited."""
        self.limit(False)
        if self.upstream is not None:
            self.upstream.resume()

    def expire(self, now: float) -> None:
        """End what is overdue. Args: now: monotonic seconds, after the deadline."""
        if self.downstream.write_paused:
            if self.downstream.moved():
                self.deadline = now + self.rules.write_timeout
            else:
                self.cut(Failure.CLIENT_SLOW)
            return
        clients_turn = not (self.whole or self.held_for)
        failure = late(self.stage, clients_turn)
        if self.stage == ROOM:
            moved = self.move_on(now) is not None
            failure = self.leave_room(WaitEnd.MOVED if moved else WaitEnd.TIMEOUT)
            self.enter(BEGUN)
            if moved:
                self.go()
            elif failure.of_node and self.tried is not None:
                last = self.tried[len(self.tried) - 1]
                assert isinstance(last, Link)
                self.link = last  # that the log names
                self.answer(failure)
            else:
                self.refuse(failure)
        elif failure is None:
            self.deadline = _NEVER
        elif self.stage < ANSWERING and self.holds_back():
            self.break_off(Failure.UPSTREAM_NO_CONTINUE)
        else:
            self.break_off(failure)

    # The end.

    def finish(self, now: float) -> None:
        """The response is complete."""
        upstream = self.upstream
        link = self.link
        assert link is not None
        assert upstream is not None
        self.upstream = None
        upstream.finish(self)
        if link.failing:
            self.desk.node_recovered(link)
            if self.pool is not None and len(self.pool.waiting):
                self.pool.waiting.knock(now, True)
        self._end(now, 0, "")
        self.downstream.over()

    def fail(self, failure: Failure, detail: str = "") -> None:
        """The node's side failed; its connection is closed already. Args: detail: for the log."""
        link = self.link
        assert link is not None
        self.upstream = None
        self.connecting = None
        self.desk.node_failed(self, link, failure, detail, self.whole)
        if self.stage >= ANSWERING:
            self._end(monotonic(), 0, failure.reason)
            self.downstream.cut()
            return
        sent = self.stage == ASKED
        self._let_go()
        self.enter(BEGUN)
        self.release(SLOW_NODE)  # it takes nothing any more, neither fast nor slowly
        again = self.again(link, failure, sent)
        if again is not None:
            self.sent_at = -1.0
            self._start(again)
        elif self.stage == ROOM:
            self.go()
        else:
            self.answer(failure)

    def give_up(self, detail: str) -> None:
        """The node is gone, though its connection stands. Args: detail: for the log."""
        if self.upstream is not None:
            self.upstream.fail(self, Failure.UPSTREAM_GONE, detail)

    def spoil(self, failure: Failure) -> None:
        """The body is unusable: the node's connection ends before it could look complete."""
        self.desk.count_rejected(failure.reason)
        self.break_off(failure)

    def break_off(self, failure: Failure) -> None:
        """End what is in progress: with an answer, or cut off once one has begun."""
        if self.stage >= ANSWERING:
            self.cut(failure)
            return
        held = holds(self.stage)
        self._let_go()
        if self.stage != BEGUN:
            self.enter(BEGUN)
        if not held & LINK:
            self.link = None
        elif failure.of_node:
            assert self.link is not None
            self.desk.node_failed(self, self.link, failure, "", self.whole)
        self.answer(failure)

    def refuse(self, failure: Failure) -> None:
        """Answer without a node: none can be asked, or none may be. Nothing was sent."""
        self._let_go()
        if self.stage != BEGUN:
            self.enter(BEGUN)
        self.link = None
        self.desk.count_rejected(failure.reason)
        self.answer(failure)

    def answer(self, failure: Failure) -> None:
        """End with an answer to a failure."""
        self.reply(answers.refusal(failure, self.head, self.request_id, self.desk.date()))

    def reply(self, answer: OwnAnswer) -> None:
        """End with an answer of our own."""
        self.downstream.answer(answer)
        self.bytes_out = 0 if self.head.method_id == HEAD else len(answer.body)
        self._end(monotonic(), answer.status, answer.reason)
        self.downstream.over()

    def cut(self, failure: Failure) -> None:
        """Cut the exchange off, visibly: only the log hears why."""
        link = self.link
        if link is not None and failure.of_node:
            self.desk.node_failed(self, link, failure, "", self.whole)
        self.abandon(failure)
        self.downstream.cut()

    def gone(self) -> None:
        """The client is gone; what it sent in a tunnel is still delivered."""
        if self.stage == TUNNEL:
            upstream = self.upstream
            self.upstream = None
            if upstream is not None:
                upstream.close()
            self._end(monotonic(), 0, "")
        else:
            self.abandon(Failure.CLIENT_ABORT)

    def abandon(self, failure: Failure) -> None:
        """The client's side ended it, and hears nothing more. The node's connection ends."""
        now = monotonic()
        if self.stage == ASKED and self.whole:
            assert self.link is not None
            self.link.left(now, now - self.sent_at)
        self._end(now, failure.status, failure.reason)

    def _let_go(self) -> None:
        """End what is under way at the node, so that nothing of it looks complete there."""
        held = holds(self.stage)
        if held & PLACE:
            self.leave_room(WaitEnd.ABORTED)
        if held & TASK and self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
        if self.upstream is not None:  # before the stage says so, if `begin` failed by our fault
            self.upstream.abort()
            self.upstream = None
        if held & LINK:
            self.count_out()

    def _end(self, now: float, status: int, reason: str) -> None:
        """Leave, count, record, log.

        Args: now: monotonic seconds; status: that the client has got, or is logged, if no answer of
        a node has begun; reason: why it failed, "" if it did not.
        """
        pool = self.pool
        answered = self.stage == ANSWERING or self.stage == TUNNEL
        self._let_go()
        self.enter(OVER)
        self.reason = reason
        if answered:
            assert self.link is not None
            self.link.count(self.status)
        else:
            self.status = status
            if pool is not None:
                pool.count_unserved(status)
        if pool is not None:
            pool.record(now - self.started, self.step, self.result, self.bytes_in, self.bytes_out)
        self.desk.log(self, now)


def send_parked(desk: Desk) -> None:
    """Send the requests that were parked in this turn."""
    ready = desk.ready
    desk.ready = []
    for exchange in ready:
        assert isinstance(exchange, Exchange)
        if exchange.stage == PARKED:  # else its client has left meanwhile
            try:
                exchange._send(False)
            except Exception:
                _log.exception("a fault of lbproxy while sending a request")
