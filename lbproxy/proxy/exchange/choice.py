"""Which node serves one request: the choice, the next one after a failure, and its session."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from lbproxy.cluster.balance import Member
from lbproxy.cluster.sticky import FAILOVER, OWNER, UNKNOWN_ROUTE, Verdict
from lbproxy.errors import Failure, Retry, may_go_again
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.waiting import Cause
from lbproxy.proxy.record import Record
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.shared_caches import kept_by_shared_caches

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.nodes.pool import Pool
    from lbproxy.proxy.nodes.serving import Serving, Tally

# For these to wait helps nobody: the request itself is the reason, or a node that cannot prove who
# it is.
_NO_CURE = (Failure.DOUBTFUL_PATH, Failure.UPSTREAM_TLS)


class Choice(Record):
    """The node of one request. `Exchange` is one, and sends the request there.

    Attributes: host: that routes and contexts are looked up by; chosen: whose node is asked next;
    verdict: of the request's session; tried: in vain, None before the first failure; renewed: once
    sent again to the node of a stale connection; serving, tally: of pools whose nodes announce
    themselves; body_sent: some of the body was sent to a node; tied: the owner of its session,
    which is full; knocks: it was sent to find out whether a node is back; crowded: there was no
    place to wait; in_turn: nobody that waits came before it.
    """

    def begin_choice(self, desk: Desk) -> None:
        """Set everything. (As `begin_record`.)"""
        self.desk = desk
        self.host: bytes = b""
        self.chosen: Link | None = None
        self.verdict: Verdict | None = None
        self.tried: list[Member] | None = None
        self.renewed: bool = False
        self.serving: Serving | None = None
        self.tally: Tally | None = None
        self.body_sent: bool = False
        self.tied: Link | None = None
        self.knocks: bool = False
        self.crowded: bool = False
        self.in_turn: bool = False

    def name_host(self) -> None:
        """Work out the host that routes and contexts are looked up by."""
        self.host = self.desk.host_of(self.head.authority)

    def choose(self, now: float) -> Link | None:
        """Choose the node; return its link, or None: then `lack` says why."""
        self.chosen = self._find(now)
        return self.chosen

    def _find(self, now: float) -> Link | None:
        pool = self.pool
        assert pool is not None
        self.tied = None
        announced = pool.announced
        if announced is not None:
            self.serving = announced.serving(self.host, self.head)
            if self.serving is None:
                return None
        tried = self.tried
        verdict = pool.decide(self.head, now, self.serving)
        if verdict is not None:
            self.verdict = verdict
            self.step = verdict.step
            self.result = verdict.result
            if verdict.result == UNKNOWN_ROUTE:
                self.desk.route_unknown(self)
            member = verdict.member
            if member is not None and (tried is None or member not in tried):
                assert isinstance(member, Link)
                if member.limit > 0 and (member.full() or self._overtakes(pool, member)):
                    self.tied = member
                    return None
                return member
        if pool.limited and self._overtakes(pool, None):
            return None
        return pool.pick(verdict, now, tried, self.serving)

    def _overtakes(self, pool: Pool, owner: Link | None) -> bool:
        """Return True if a request that waits could be given what this one would take.

        Args: owner: of its session, None if any node will do.
        """
        if self.in_turn or not len(pool.waiting):
            return False
        aim = pool if self.serving is None else self.serving
        return pool.waiting.has(aim) or (owner is not None and pool.waiting.has(owner))

    def aim(self) -> object:
        """See `Waiting`: the owner of its session, any node that serves it, or, if some have failed
        or its session was lost, what nobody else waits for."""
        if self.tied is not None:
            return self.tied
        if self.tried is not None:
            return self
        if self.serving is None:
            return self.pool
        # What nodes announced may keep a lost session from some of them.
        return self if self.verdict is not None and self.verdict.lost else self.serving

    def move_on(self, now: float) -> Link | None:
        """Give up the owner of its session, which is full, as if that were gone; return the node
        that takes the request now, None if none does or it has no such owner."""
        tied = self.tied
        if tied is None:
            return None
        pool = self.pool
        verdict = self.verdict
        assert pool is not None
        assert verdict is not None
        self.tied = None
        verdict.lose(tied.domain, tied.balancer)
        self.chosen = pool.pick(verdict, now, self.tried, self.serving)
        if self.chosen is not None:
            self.result = FAILOVER
        return self.chosen

    def lack(self) -> Failure:
        """Return why there is no node to ask."""
        pool = self.pool
        assert pool is not None
        return pool.lack(self.host, self.head)

    def choose_again(self, now: float, cause: Cause) -> Link | None:
        """Return the node for a request that has waited, None if there is still none.

        After failures it must be a usable one, and the retry costs what every retry costs; but who
        knocks tries any, and pays nothing: few do, and nobody else would find out.
        """
        tried = self.tried
        if cause is not Cause.ROOM:
            self.tried = None
        self.in_turn = True
        link = self.choose(now)
        if link is not None and tried is not None:
            pool = self.pool
            assert pool is not None
            if cause is Cause.KNOCK:
                self.knocks = True
            else:
                panic = pool.panic if self.serving is None else self.serving.panic
                if panic or not pool.budget.withdraw():
                    link = None
                else:
                    self.retries += 1
                    pool.retries += 1
        if link is None:
            self.tried = tried
        self.chosen = link
        return link

    def wait_s(self, failure: Failure) -> float:
        """Return how long the request may wait for a node in seconds, 0 if it may not.

        Args: failure: why none can be asked now.
        """
        pool = self.pool
        if pool is None or pool.settings.queue is False or failure in _NO_CURE:
            return 0.0
        wait_s: float = pool.settings.queue.wait
        if failure is Failure.NO_CONTEXT:
            if self.serving is None:
                return 0.0
            wait_s = 0.0  # its nodes have stopped it: only they can say that it is worth a wait
        announced = pool.announced
        if announced is not None and not self.desk.draining:
            wait_s = max(wait_s, announced.wait_s(self.serving))
        return min(wait_s, pool.response_timeout) - self.queued_s

    def wait(self, failure: Failure) -> bool:
        """Let the request wait for a node; return False if it may not. Args: as `wait_s`."""
        raise NotImplementedError

    def again(self, link: Link, failure: Failure, sent: bool) -> Link | None:
        """Return the node to which the request goes again, None if it may not or cannot.

        If it may but no node is left, it waits for one if its pool lets it. Args: link: of the node
        that failed; sent: some of the request was sent to it.
        """
        pool = self.pool
        assert pool is not None
        if not may_go_again(failure.retry, sent, self.head.idempotent(), self.body_sent):
            return None
        if failure.retry is Retry.FRESH and not self.renewed:
            self.renewed = True
            link.close_idle()  # what one of them says of the others is likely true
            return link
        if not failure.unreached:
            self.knocks = False  # what may bring nodes down goes to none without end
        if self.retries >= pool.attempts_after(link) and not self.knocks:
            return None
        tried = self.tried
        if tried is None:
            tried = self.tried = []
        tried.append(link)
        verdict = self.verdict
        if verdict is not None and verdict.member is link:
            verdict.lose(link.domain, link.balancer)
        other = None
        if not self.knocks:
            other = pool.pick(verdict, self.desk.now, tried, self.serving)
        # The budget keeps retries from multiplying what nodes get: of a request of which nothing
        # was sent the next node is the first that gets anything.
        free = self.knocks or (failure.unreached and not self.body_sent)
        if other is None and self.serving is None:
            other = _last_resort(pool, tried)
        if other is None:
            self.wait(failure)
            return None
        if other in tried or not (free or pool.budget.withdraw()):
            return None
        self.retries += 1
        pool.retries += 1
        if self.result == OWNER:
            self.result = FAILOVER
        return other

    def count_in(self, link: Link) -> None:
        """The request goes to this node: count it there, and as its context's.

        A session that is lost on this node is taken from the request's head.
        """
        self.link = link
        link.enter()
        if self.serving is None:
            return
        pool = self.pool
        assert pool is not None
        announced = pool.announced
        assert announced is not None
        self.tally = announced.applications.tally(self.serving, link)
        self.tally.count += 1
        if self.verdict is not None and announced.forgets(self.verdict, link):
            announced.remove_session(self.head)

    def count_out(self) -> None:
        """The node has nothing more to do with the request."""
        link = self.link
        assert link is not None
        link.leave()
        if link.limit > 0:
            assert self.pool is not None
            self.pool.waker.soon()
        if self.tally is not None:
            self.tally.count -= 1
            self.tally = None

    def keep_session(self, head: ResponseHead) -> None:
        """Learn from the answer which node has the session, and tell the client by our cookie."""
        pool = self.pool
        link = self.link
        verdict = self.verdict
        assert pool is not None
        assert link is not None
        assert verdict is not None
        if head.set_cookies is not None:
            pool.learn(head.set_cookies, link)
        if (
            pool.own_cookie
            and pool.needs_own_cookie(verdict, link)
            and not kept_by_shared_caches(head.parts, time())
        ):
            head.parts.append(pool.own_cookie_line(link, self.asker.https))


def _last_resort(pool: Pool, tried: list[Member]) -> Link | None:
    """Return a node that health or ejection keeps out, None if there is none beside `tried`.

    All that seem well have failed this request. As in a panic, what was observed of the others may
    be out of date: a node that was ejected is often back long before its time is over.
    """
    found: Link | None = None
    for link in pool.links.values():
        node = link.node
        if link in tried or link.full() or not (node.takes_new and node.may_be_tried):
            continue
        if found is None or link.in_flight < found.in_flight:
            found = link
    return found
