"""One pool as one worker sees it: its links, who is chosen, what was counted."""

from __future__ import annotations

from time import monotonic

from lbproxy.cluster.balance import Member, make_balancer
from lbproxy.cluster.candidates import candidates
from lbproxy.cluster.learned import Lesson
from lbproxy.cluster.node import Node, differ_in_load_only
from lbproxy.cluster.snapshot import PoolSnapshot, changed_nodes
from lbproxy.cluster.stats import NodeStats, PoolStats, no_durations, no_statuses
from lbproxy.cluster.sticky import N_RESULTS, N_STEPS, RESULT_NAMES, STEP_NAMES, Affinity, Verdict
from lbproxy.config import schema
from lbproxy.config.schema import StickyStep
from lbproxy.config.sources import McmpSettings
from lbproxy.errors import Failure
from lbproxy.limits.board import Page
from lbproxy.limits.budget import RetryBudget
from lbproxy.limits.counter import UNSHARED
from lbproxy.proxy.nodes.announced import Announced
from lbproxy.proxy.nodes.counting import bucket_of, count_status
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.serving import Serving, balances_alike
from lbproxy.proxy.nodes.waiting import Cause, WaitingRoom
from lbproxy.proxy.nodes.waking import Waker
from lbproxy.routing.paths import Visibility
from lbproxy.wire.cookies import CookieName, path_parameter, set_cookie_value, without
from lbproxy.wire.edit import replace_cookies
from lbproxy.wire.fields import fold_all
from lbproxy.wire.request_head import RequestHead

# How a pool treats sessions if only its nodes ask for it.
_ANNOUNCED_STICKY = schema.StickySettings(by=(StickyStep.ROUTE, StickyStep.PATH_PARAMETER))


class Pool:
    """One pool of one worker.

    Args: key: signs the affinity cookie; seed: of the balancer's draws; timeouts: the global ones,
    used if the pool sets none; mcmp: the listener by which nodes join this pool, None for none;
    page: where requests at nodes are counted for other workers to see, None if there are none.
    Owns: the links.

    Attributes: waiting: its requests that wait for a node; waker: of these; limited: a node has a
    limit on its requests; panic: health is being ignored (for pools without `announced`).

    A pool whose nodes announce what they serve has applications, and who is chosen depends on the
    request's path (see `announced`). Others do not, and pay no more than a look at one attribute.
    """

    def __init__(
        self,
        name: str,
        settings: schema.PoolSettings,
        timeouts: schema.TimeoutsSettings,
        key: bytes,
        seed: int,
        mcmp: McmpSettings | None = None,
        page: Page | None = None,
    ) -> None:
        self._page = page
        self._seed = seed
        self.name = name
        self.links: dict[str, Link] = {}
        self.retired: list[Link] = []  # of nodes that left, while connections to them stand
        self.snapshot: PoolSnapshot | None = None
        self.affinity: Affinity | None = None
        self.announced: Announced | None = None
        self.durations: list[int] = no_durations()
        self.duration_sum: float = 0.0
        self.retries: int = 0
        self.sticky_counts: list[int] = [0] * (N_STEPS * N_RESULTS)
        self.unserved: list[int] = [0] * 6
        self.unserved_statuses: list[int] = no_statuses()
        self.bytes_in: int = 0
        self.bytes_out: int = 0
        self.waiting = WaitingRoom(UNSHARED if page is None else page.waiting(name))
        self.waker = Waker(self.waiting, page is not None)
        self.limited: bool = False
        self.panic: bool = False
        self._configure(settings, timeouts, key, mcmp)
        self.budget = _budget(settings)
        self.balancer = make_balancer(settings.balance, settings.slow_start, seed)
        if settings.sticky:
            self.affinity = Affinity(settings.sticky, name, key)

    def _configure(
        self,
        settings: schema.PoolSettings,
        timeouts: schema.TimeoutsSettings,
        key: bytes,
        mcmp: McmpSettings | None,
    ) -> None:
        """Take over what is looked up, and holds no state. Args: as of the constructor."""
        self._key = key
        self._mcmp = mcmp
        self.settings = settings
        self.connect_timeout: float = (
            timeouts.connect if settings.timeouts.connect is None else settings.timeouts.connect
        )
        self.response_timeout: float = (
            timeouts.response if settings.timeouts.response is None else settings.timeouts.response
        )
        self.attempts: int = settings.retry.attempts if settings.retry else 0
        self.visibility = Visibility(
            [prefix.encode() for prefix in settings.hide],
            [prefix.encode() for prefix in settings.expose],
            [prefix.encode() for prefix in settings.tenant_prefixes],
            settings.hide_extensions,
        )
        self.everything_visible: bool = not settings.hide and not settings.expose
        self._passes = frozenset(fold_all(name.encode()) for name in settings.passes)
        sticky = settings.sticky
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

    def follow(
        self,
        settings: schema.PoolSettings,
        timeouts: schema.TimeoutsSettings,
        key: bytes,
        mcmp: McmpSettings | None,
        now: float,
    ) -> None:
        """Follow another configuration; the nodes of a snapshot are not its business.

        Links keep what they hold, sessions their owners, and counters go on; exchanges in progress
        keep the node and the waits that they have.

        Args: as of the constructor; now: monotonic seconds.
        """
        before, old_key = self.settings, self._key
        self._configure(settings, timeouts, key, mcmp)
        if before.retry != settings.retry:
            self.budget = _budget(settings)
        if not balances_alike(before, settings):
            self.balancer = make_balancer(settings.balance, settings.slow_start, self._seed)
        announced = self.announced
        if (before.sticky, old_key) != (settings.sticky, key):
            sticky = settings.sticky
            if not sticky and announced is not None and announced.sticky:
                sticky = _ANNOUNCED_STICKY
            old, self.affinity = self.affinity, Affinity(sticky, self.name, key) if sticky else None
            if old is not None and self.affinity is not None:
                self.affinity.take_over(old)
        keepalive = settings.keepalive
        for link in self.links.values():
            link.follow(keepalive.per_node, keepalive.idle, now)
            link.tune(self.connect_timeout, self.response_timeout, self.settings.tcp)
        self._limit()
        snapshot = self.snapshot
        if snapshot is not None:
            if announced is not None:
                announced.configure(settings, mcmp, self.cookie_names, self.parameter)
                announced.follow(snapshot.balancers)
            self._take_owners(announced, now)
            self._offer(snapshot, now)

    def leave(self) -> None:
        """The configuration has the pool no more: exchanges in progress go on to their end, and
        keep no connection behind them."""
        for link in self.links.values():
            link.retire()

    def has_left(self) -> bool:
        """Return True if nothing of a pool that leaves is in progress any more."""
        links = (*self.links.values(), *self.retired)
        return not len(self.waiting) and not any(link.in_flight or link.ending for link in links)

    def apply(self, snapshot: PoolSnapshot, now: float = 0.0) -> bool:
        """Take over the nodes of a snapshot; links of nodes that stay keep what they hold.

        Args: now: monotonic seconds. Returns: False if nothing changed but loads.
        """
        before = self.snapshot
        if snapshot is before:
            return False
        self.snapshot = snapshot
        if before is not None and self._take_loads(before, snapshot):
            return False
        announced = self.announced
        if announced is None and _announces(snapshot):
            announced = self.announced = Announced(
                self.settings, self._mcmp, self.cookie_names, self.parameter, self._seed
            )
        moved = before is None
        if announced is not None and (before is None or snapshot.balancers != before.balancers):
            announced.follow(snapshot.balancers)
            moved = True
        if self._take_links(snapshot.nodes) or moved:
            self._take_owners(announced, now)
        self._offer(snapshot, now)
        return True

    def _offer(self, snapshot: PoolSnapshot, now: float) -> None:
        """Bring up to date who may be chosen."""
        announced = self.announced
        if announced is None:
            self._take_candidates(snapshot)
        else:
            announced.replace(snapshot, self.links)
        if len(self.waiting):
            self.waiting.wake(now, Cause.CHANGE)

    def _take_loads(self, before: PoolSnapshot, snapshot: PoolSnapshot) -> bool:
        """Take over loads and weights if nothing else changed; False if something did."""
        changed = changed_nodes(before, snapshot)
        if changed is None or snapshot.balancers != before.balancers:
            return False
        for old, new in changed:
            if not differ_in_load_only(old, new):
                return False
        for _, node in changed:
            self.links[node.name].update(node)
        self.balancer.refresh()
        if self.announced is not None:
            self.announced.applications.refresh()
        return True

    def _take_links(self, nodes: tuple[Node, ...]) -> bool:
        """Bring the links up to date; return True if affinity has to know."""
        keepalive = self.settings.keepalive
        links: dict[str, Link] = {}
        moved = len(nodes) != len(self.links)
        for node in nodes:
            link = self.links.get(node.name)
            if link is None or not (link.node is node or link.reaches(node)):
                old = link
                link = Link(node, keepalive.per_node, keepalive.idle)
                if self._page is not None:
                    link.shared = self._page.requests(self.name, node.name)
                link.tune(self.connect_timeout, self.response_timeout, self.settings.tcp)
                moved = True
                if old is not None:
                    self._retire(old)
            elif link.node is not node:
                if (link.domain, link.balancer) != (node.domain, node.balancer):
                    moved = True
                link.update(node)
                link.tune(self.connect_timeout, self.response_timeout, self.settings.tcp)
            links[node.name] = link
        for name, link in self.links.items():
            if name not in links:
                self._retire(link)
                moved = True
        self.links = links
        self._limit()
        return moved

    def _limit(self) -> None:
        """Take over how many requests nodes may have."""
        self.limited = False
        for link in self.links.values():
            link.limit = link.node.max_in_flight or self.settings.max_in_flight or 0
            self.limited = self.limited or link.limit > 0

    def _take_owners(self, announced: Announced | None, now: float) -> None:
        """Tell affinity who may own sessions."""
        if announced is not None:
            balancers = announced.balancers
            for link in self.links.values():
                settings = balancers.get(link.balancer)
                link.sticky = settings is None or settings.sticky
            if self.affinity is None and announced.sticky:
                self.affinity = Affinity(_ANNOUNCED_STICKY, self.name, self._key)
            if self.affinity is not None:
                self.affinity.follow_announced(announced.sticky)
        if self.affinity is not None:
            self.affinity.replace([*self.links.values()], now)

    def _take_candidates(self, snapshot: PoolSnapshot) -> None:
        chosen = candidates(snapshot, self.settings.panic_threshold)
        self.panic = chosen.panic
        new = {node.name for node in chosen.takes_new}
        owned = {node.name for node in chosen.takes_owned}
        takers: list[Member] = []
        for link in self.links.values():
            link.takes_new = link.name in new
            link.takes_owned = link.name in owned
            if link.takes_new:
                takers.append(link)
        self.balancer.replace(takers)

    def attempts_after(self, link: Link) -> int:
        """Return how often a request that failed at `link` may be sent again."""
        if self.announced is None:
            return self.attempts
        return self.announced.attempts(link, self.attempts)

    def close_expired(self, now: float) -> None:
        """End the node connections whose time is over; let one who waits knock at a node."""
        for link in self.links.values():
            link.close_expired(now)
        if self.retired:
            for link in self.retired:
                link.close_expired(now)
            self.retired = [link for link in self.retired if link.in_flight or link.ending]
        if len(self.waiting):
            self.waiting.knock(now, False)

    def _retire(self, link: Link) -> None:
        link.retire()
        self.retired.append(link)

    def let_pass(self, head: RequestHead) -> None:
        """Give a request the fields back that this pool lets pass, and other pools may not."""
        for name, line in head.held or ():
            if name in self._passes:
                head.parts.append(line)

    def decide(self, head: RequestHead, now: float, application: Serving | None) -> Verdict | None:
        """Return what the request's cookies and path say about the owner of its session.

        Where the pool sets an affinity cookie of its own it is taken out of the head: nodes have
        no use for it, and it is nobody's to log.

        Args: application: that the request is for, None if the pool has none.
        """
        affinity = self.affinity
        if affinity is None:
            return None
        found: list[bytes] | None = None
        own: list[bytes] | None = None
        parameters: list[bytes] | None = None
        announced = self.announced
        cookies = head.cookies
        if cookies is not None:
            found = _values(self.cookie_names, cookies, None)
            if announced is not None:
                found = _values(announced.cookie_names, cookies, found)
            if self.own_cookie:
                own = _values([self.own_name], cookies, None)
                if own:
                    self._hide_own_cookie(head, cookies)
        if self.parameter:
            parameters = path_parameter(head.path, self.parameter)
        if announced is not None:
            for parameter in announced.parameters:
                some = path_parameter(head.path, parameter)
                parameters = parameters + some if parameters else some
        owners = None if application is None else application.owners
        return affinity.decide(now, found, own, parameters, owners)

    def pick(
        self,
        verdict: Verdict | None,
        now: float,
        tried: list[Member] | None,
        application: Serving | None,
    ) -> Link | None:
        """Return the link for a session without a usable owner, or None; none of `tried`, and none
        that is full.

        Args: application: that it is for, None if the pool has none.
        """
        if self.limited:
            tried = self._and_full(tried)
        if application is not None:
            assert self.announced is not None
            return self.announced.pick(application, verdict, now, tried)
        session = None if verdict is None else verdict.session
        member = self.balancer.pick(now, session, tried)
        assert member is None or isinstance(member, Link)  # the balancer was given nothing else
        return member

    def _and_full(self, tried: list[Member] | None) -> list[Member] | None:
        """Return `tried` and the nodes that have as many requests as they may have."""
        full: list[Member] = []
        for link in self.links.values():
            if link.full():
                full.append(link)
        return full + (tried or []) if full else tried

    def lack(self, host: bytes, head: RequestHead) -> Failure:
        """Return why no node can be given such a request. Args: as `Applications.find`."""
        announced = self.announced
        failure = Failure.NO_NODE if announced is None else announced.lack(host, head)
        busy = failure is Failure.NO_NODE and self.limited and self._and_full(None) is not None
        return Failure.NODES_BUSY if busy else failure

    def learn(self, set_cookies: list[bytes], link: Link) -> None:
        """A node has set cookies: remember which node a session's id came from."""
        affinity = self.affinity
        if affinity is None or not self.learns:
            return
        now = monotonic()
        for field in set_cookies:
            for name in self.cookie_names:
                value = set_cookie_value(field, name.name)
                if value:
                    affinity.learn(value, link, now)

    def take_learned(self, limit: int) -> list[Lesson]:
        """Return which nodes' session ids this worker has learned since this was asked last."""
        return self.affinity.learned.take(limit) if self.affinity and self.learns else []

    def add_learned(self, lessons: list[Lesson]) -> None:
        """Take over what other workers have learned; it is not told on."""
        if self.affinity and self.learns:
            self.affinity.learned.add(lessons)

    def all_learned(self) -> list[Lesson]:
        """Return all that a new worker is to know, the least recently used first."""
        return self.affinity.learned.all() if self.affinity and self.learns else []

    def needs_own_cookie(self, verdict: Verdict, link: Link) -> bool:
        """Return True if the client must be told, by our cookie, which node it has."""
        return self.affinity is not None and self.affinity.needs_own_cookie(verdict, link)

    def own_cookie_line(self, link: Link, secure: bool) -> bytes:
        """Return the Set-Cookie line that names the link."""
        assert self.affinity is not None
        return self.affinity.own_cookie_header(link, secure)

    def count_unserved(self, status: int) -> None:
        """Count an exchange that lbproxy answered itself, or that its client left."""
        self.unserved[status // 100] += 1
        count_status(self.unserved_statuses, status)

    def record(self, seconds: float, step: int, result: int, bytes_in: int, bytes_out: int) -> None:
        """Count one exchange."""
        self.duration_sum += seconds
        self.durations[bucket_of(seconds)] += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
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
            list(self.unserved_statuses),
            self.bytes_in,
            self.bytes_out,
            len(self.waiting),
            {end.value: count for end, count in self.waiting.ends.items()},
        )

    def _hide_own_cookie(self, head: RequestHead, cookies: list[bytes]) -> None:
        lines: dict[bytes, bytes] = {}
        for cookie in cookies:
            rest = without(cookie, self.own_name.name)
            if rest != cookie:
                lines[cookie] = b"Cookie: " + rest + b"\r\n" if rest else b""
        replace_cookies(head.parts, lines)


def _values(
    names: list[CookieName], cookies: list[bytes], found: list[bytes] | None
) -> list[bytes] | None:
    """Return `found` and behind it the values of these names in the Cookie fields; None for none.

    The caller owns `found`.
    """
    for name in names:
        for cookie in cookies:
            some = name.values(cookie)
            if some:
                if found is None:
                    found = some
                else:
                    found.extend(some)
    return found


def _budget(settings: schema.PoolSettings) -> RetryBudget:
    return RetryBudget(settings.retry.budget if settings.retry else 0.0)


def _announces(snapshot: PoolSnapshot) -> bool:
    return bool(snapshot.balancers) or any(
        node.virtual_hosts is not None for node in snapshot.nodes
    )
