"""One pool as one worker sees it: its links, who is chosen, what was counted."""

from __future__ import annotations

from typing import cast

from lbproxy.cluster.balance import Member, make_balancer
from lbproxy.cluster.budget import RetryBudget
from lbproxy.cluster.candidates import candidates
from lbproxy.cluster.snapshot import PoolSnapshot
from lbproxy.cluster.stats import DURATION_BUCKETS, NodeStats, PoolStats
from lbproxy.cluster.sticky import N_RESULTS, N_STEPS, RESULT_NAMES, STEP_NAMES, Affinity, Verdict
from lbproxy.config import schema
from lbproxy.config.paths import Visibility
from lbproxy.config.schema import StickyStep
from lbproxy.proxy.link import Link
from lbproxy.wire.cookies import CookieName, path_parameter, set_cookie_value, without
from lbproxy.wire.http1_request import RequestHead

_BUCKETS = DURATION_BUCKETS


class Pool:
    """One pool of one worker.

    Args: key: signs the affinity cookie; seed: of the balancer's draws; timeouts: the global ones,
    used where the pool sets none.
    Owns: the links.
    """

    def __init__(
        self,
        name: str,
        settings: schema.Pool,
        timeouts: schema.Timeouts,
        key: bytes,
        seed: int,
    ) -> None:
        self.name = name
        self.settings = settings
        self.connect_timeout: float = (
            timeouts.connect if settings.timeouts.connect is None else settings.timeouts.connect
        )
        self.response_timeout: float = (
            timeouts.response if settings.timeouts.response is None else settings.timeouts.response
        )
        self.attempts: int = settings.retry.attempts if settings.retry else 0
        self.budget = RetryBudget(settings.retry.budget if settings.retry else 0.0)
        self.visibility = Visibility(
            [prefix.encode() for prefix in settings.hide],
            [prefix.encode() for prefix in settings.expose],
            [prefix.encode() for prefix in settings.tenant_prefixes],
        )
        self.everything_visible: bool = not settings.hide and not settings.expose
        self.balancer = make_balancer(settings.balance, settings.slow_start, seed)
        self.links: dict[str, Link] = {}
        self.retired: list[Link] = []  # of nodes that left, while connections to them stand
        self.snapshot: PoolSnapshot | None = None
        self.panic: bool = False

        sticky = settings.sticky
        self.affinity: Affinity | None = Affinity(sticky, name, key) if sticky else None
        steps = sticky.by if sticky else ()
        self.learns: bool = StickyStep.LEARNED in steps
        self.own_cookie: bool = StickyStep.OWN_COOKIE in steps
        self.own_name = CookieName(sticky.own_cookie.name.encode() if sticky else b"")
        self.cookie_names: list[CookieName] = []
        self.parameter: bytes = b""
        if sticky:
            names = (sticky.cookie, *sticky.also)
            self.cookie_names = [CookieName(cookie.encode()) for cookie in names if cookie]
            if StickyStep.PATH_PARAMETER in sticky.by and sticky.path_parameter:
                self.parameter = sticky.path_parameter.encode()

        self.durations: list[int] = [0] * (len(DURATION_BUCKETS) + 1)
        self.duration_sum: float = 0.0
        self.retries: int = 0
        self.sticky_counts: list[int] = [0] * (N_STEPS * N_RESULTS)
        self.unserved: list[int] = [0] * 6

    def apply(self, snapshot: PoolSnapshot) -> None:
        """Take over the nodes of a snapshot; links of nodes that stay keep what they hold."""
        if snapshot is self.snapshot:
            return
        self.snapshot = snapshot
        keepalive = self.settings.keepalive
        links: dict[str, Link] = {}
        for node in snapshot.nodes:
            link = self.links.get(node.name)
            if link is None or not link.reaches(node):
                old = link
                link = Link(node, keepalive.per_node, keepalive.idle)
                if old is not None:
                    self._retire(old)
            else:
                link.update(node)
            links[node.name] = link
        for name, link in self.links.items():
            if name not in links:
                self._retire(link)
        self.links = links
        chosen = candidates(snapshot, self.settings.panic_threshold)
        self.panic = chosen.panic
        new = {node.name for node in chosen.takes_new}
        owned = {node.name for node in chosen.takes_owned}
        for link in links.values():
            link.takes_new = link.name in new
            link.takes_owned = link.name in owned
        members: list[Member] = list(links.values())
        self.balancer.replace([member for member in members if member.takes_new])
        if self.affinity is not None:
            self.affinity.replace(members)

    def close_expired(self, now: float) -> None:
        """End the node connections whose time is over."""
        for link in self.links.values():
            link.close_expired(now)
        if self.retired:
            for link in self.retired:
                link.close_expired(now)
            self.retired = [link for link in self.retired if link.in_flight or link.ending]

    def _retire(self, link: Link) -> None:
        link.retire()
        self.retired.append(link)

    def decide(self, head: RequestHead, now: float) -> Verdict | None:
        """Return what the request's cookies and path say about the owner of its session.

        Where the pool sets an affinity cookie of its own it is taken out of the head: nodes have
        no use for it, and it is nobody's to log.
        """
        affinity = self.affinity
        if affinity is None:
            return None
        found: list[bytes] | None = None
        own: list[bytes] | None = None
        parameters: list[bytes] | None = None
        cookies = head.cookies
        if cookies is not None:
            for name in self.cookie_names:
                for cookie in cookies:
                    some = name.values(cookie)
                    if some:
                        found = found + some if found else some
            if self.own_cookie:
                for cookie in cookies:
                    some = self.own_name.values(cookie)
                    if some:
                        own = own + some if own else some
                if own:
                    self._hide_own_cookie(head, cookies)
        if self.parameter:
            parameters = path_parameter(head.path, self.parameter)
        return affinity.decide(now, found, own, parameters)

    def pick(self, verdict: Verdict | None, now: float, tried: list[Member] | None) -> Link | None:
        """Return the link for a session without a usable owner; none of `tried` where another
        exists."""
        session = None if verdict is None else verdict.session
        member = self.balancer.pick(now, session, tried)
        return cast(Link, member)  # only links are ever given to the balancer

    def learn(self, set_cookies: list[bytes], link: Link) -> None:
        """A node has set cookies: remember which node a session's id came from."""
        affinity = self.affinity
        if affinity is None or not self.learns:
            return
        for field in set_cookies:
            for name in self.cookie_names:
                value = set_cookie_value(field, name.name)
                if value:
                    affinity.learn(value, link)

    def needs_own_cookie(self, verdict: Verdict, link: Link) -> bool:
        """Return True where the client must be told, by our cookie, which node it has."""
        return self.affinity is not None and self.affinity.needs_own_cookie(verdict, link)

    def own_cookie_line(self, link: Link, secure: bool) -> bytes:
        """Return the Set-Cookie line that names the link."""
        assert self.affinity is not None
        return self.affinity.own_cookie_header(link, secure)

    def record(self, seconds: float, step: int, result: int) -> None:
        """Count one exchange."""
        self.duration_sum += seconds
        index = 0
        bounds = _BUCKETS
        for bound in bounds:
            if seconds <= bound:
                break
            index += 1
        self.durations[index] += 1
        if step >= 0:
            self.sticky_counts[step * N_RESULTS + result] += 1

    def close(self) -> None:
        """Close every idle connection."""
        for link in self.links.values():
            link.close_idle()

    def stats(self) -> PoolStats:
        """Return the counters so far."""
        nodes: dict[str, NodeStats] = {name: link.stats() for name, link in self.links.items()}
        sticky = {
            (STEP_NAMES[index // N_RESULTS], RESULT_NAMES[index % N_RESULTS]): count
            for index, count in enumerate(self.sticky_counts)
            if count
        }
        return PoolStats(
            nodes,
            list(self.durations),
            self.duration_sum,
            self.retries,
            sticky,
            list(self.unserved),
        )

    def _hide_own_cookie(self, head: RequestHead, cookies: list[bytes]) -> None:
        for cookie in cookies:
            rest = without(cookie, self.own_name.name)
            if rest == cookie:
                continue
            line = b"Cookie: " + rest + b"\r\n" if rest else b""
            head.replace_cookie(cookie, line)
