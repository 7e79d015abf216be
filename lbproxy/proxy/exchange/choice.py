"""Which node serves one request: the choice, the next one after a failure, and its session."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from lbproxy.cluster.balance import Member
from lbproxy.cluster.sticky import FAILOVER, OWNER, UNKNOWN_ROUTE, Verdict
from lbproxy.errors import Failure, Retry, may_go_again
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.record import Record
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.shared_caches import kept_by_shared_caches

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.nodes.serving import Serving, Tally


class Choice(Record):
    """The node of one request. `Exchange` is one, and sends the request there.

    Attributes: host: that routes and contexts are looked up by; chosen: whose node is asked next;
    verdict: of the request's session; tried: in vain, None before the first failure; renewed: once
    sent again to the node of a stale connection; serving, tally: of pools whose nodes announce
    themselves; body_sent: some of the body was sent to a node.
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
        announced = pool.announced
        if announced is not None:
            self.serving = announced.serving(self.host, self.head)
            if self.serving is None:
                return None
        verdict = pool.decide(self.head, now, self.serving)
        if verdict is not None:
            self.verdict = verdict
            self.step = verdict.step
            self.result = verdict.result
            if verdict.result == UNKNOWN_ROUTE:
                self.desk.route_unknown(self)
            if verdict.member is not None:
                assert isinstance(verdict.member, Link)
                return verdict.member
        return pool.pick(verdict, now, None, self.serving)

    def lack(self) -> Failure:
        """Return why there is no node to ask."""
        pool = self.pool
        assert pool is not None
        return pool.lack(self.host, self.head)

    def choose_again(self, now: float) -> Link | None:
        """Return the node for a request that has waited, None if there is still none.

        After failures it must be a usable one, and the retry costs what every retry costs.
        """
        tried, self.tried = self.tried, None
        link = self.choose(now)
        if link is not None and tried is not None:
            pool = self.pool
            assert pool is not None
            assert self.serving is not None
            if self.serving.panic or not pool.budget.withdraw():
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
        announced = None if self.pool is None else self.pool.announced
        if announced is None or failure is Failure.DOUBTFUL_PATH or self.desk.draining:
            return 0.0
        if self.serving is None and failure is Failure.NO_CONTEXT:
            return 0.0
        return announced.wait_s(self.serving)

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
        if self.retries >= pool.attempts_after(link):
            return None
        tried = self.tried
        if tried is None:
            tried = self.tried = []
        tried.append(link)
        verdict = self.verdict
        if verdict is not None and verdict.member is link:
            verdict.lose(link.domain, link.balancer)
        other = pool.pick(verdict, self.desk.now, tried, self.serving)
        if other is None:
            self.wait(failure)
            return None
        if other in tried or not pool.budget.withdraw():
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
        assert self.link is not None
        self.link.leave()
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
