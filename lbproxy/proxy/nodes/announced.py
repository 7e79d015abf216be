"""What a pool does because its nodes announce themselves: whose settings hold for a request, who
takes over a session, who may wait for a node.

Which node, if a session is known (MCMP reference, section 6.2): its owner, if that serves the
application. Otherwise one of the owner's domain, and otherwise any, unless the owner's balancer
forces sessions to stay (then 503). A session whose owner is unknown altogether may go anywhere.

Which settings hold. The nodes' and the operator's bounds on retries both hold, so the smaller
number counts, and the pool's retry budget always does. What nodes say of cookies, path parameters
and waiting has no counterpart in the configuration; the pool's own cookies are looked at first.
"""

from __future__ import annotations

from collections.abc import Mapping

from lbproxy.cluster.balance import Member
from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.snapshot import PoolSnapshot
from lbproxy.cluster.sticky import Verdict
from lbproxy.config.schema import PoolSettings
from lbproxy.config.sources import McmpSettings
from lbproxy.errors import Failure
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.serving import Applications, Serving
from lbproxy.routing.paths import DoubtfulPath
from lbproxy.wire.cookies import CookieName
from lbproxy.wire.edit import without_session
from lbproxy.wire.request_head import RequestHead

_NOT_FOUND = 404


class Announced:
    """The announcements of one pool, as one worker keeps them.

    Args: settings: of the pool; mcmp: of the listener by which they join it, None if they join
    otherwise; cookies, parameter: names that the pool itself looks at; seed: of draws.
    """

    def __init__(
        self,
        settings: PoolSettings,
        mcmp: McmpSettings | None,
        cookies: list[CookieName],
        parameter: bytes,
        seed: int,
    ) -> None:
        self.applications = Applications(settings, _matches_alias(mcmp), seed)
        self.balancers: Mapping[str, BalancerSettings] = {}
        self.sticky: bool = False
        self.cookie_names: list[CookieName] = []
        self.parameters: list[bytes] = []
        self._own_names = [cookie.name for cookie in cookies]
        self._own_parameter = parameter
        self._denies_stopped: bool = _hides_stopped(mcmp)
        self._last_wait_s: float = 0.0

    def configure(
        self,
        settings: PoolSettings,
        mcmp: McmpSettings | None,
        cookies: list[CookieName],
        parameter: bytes,
    ) -> None:
        """Take over another configuration; `follow` and `replace` come behind it.

        Args: as of the constructor. Who waits waits on, and requests stay counted.
        """
        self.applications.follow(settings, _matches_alias(mcmp))
        self._own_names = [cookie.name for cookie in cookies]
        self._own_parameter = parameter
        self._denies_stopped = _hides_stopped(mcmp)

    def follow(self, balancers: Mapping[str, BalancerSettings]) -> None:
        """Take over the settings that nodes announced."""
        self.balancers = balancers
        sticky = [each for each in balancers.values() if each.sticky]
        cookies = dict.fromkeys(each.cookie.encode() for each in sticky)
        parameters = dict.fromkeys(each.path_parameter.encode() for each in sticky)
        self.sticky = bool(sticky)
        self.cookie_names = [CookieName(name) for name in cookies if name not in self._own_names]
        self.parameters = [name for name in parameters if name != self._own_parameter]
        if balancers:
            # Kept when the last node has left: its requests may wait for it to come back.
            self._last_wait_s = max(each.wait_s for each in balancers.values())

    def replace(self, snapshot: PoolSnapshot, links: Mapping[str, Link]) -> None:
        """Take over the nodes of a snapshot."""
        self.applications.replace(snapshot.nodes, links)

    def serving(self, host: bytes, head: RequestHead) -> Serving | None:
        """Return the application that a request is for; None if there is none, or the readings of
        its path lead to several: then `lack` says which. Args: as `Applications.find`."""
        try:
            return self.applications.find(host, head)
        except DoubtfulPath:
            return None

    def pick(
        self,
        application: Serving,
        verdict: Verdict | None,
        now: float,
        tried: list[Member] | None,
    ) -> Link | None:
        """Return the link for a session without a usable owner, or None; none of `tried`."""
        session = None if verdict is None else verdict.session
        if verdict is not None and verdict.lost:
            if verdict.domain:
                inside = application.pick_inside(verdict.domain, now, session, tried)
                if inside is not None:
                    assert isinstance(inside, Link)
                    return inside
            settings = self.balancers.get(verdict.balancer)
            if settings is not None and settings.force:
                return None
        found = application.pick(now, session, tried)
        assert found is None or isinstance(found, Link)
        return found

    def forgets(self, verdict: Verdict, link: Link) -> bool:
        """Return True if a session that fails over to `link` is to be taken from the request."""
        if not verdict.lost or (verdict.domain and link.domain == verdict.domain):
            return False
        settings = self.balancers.get(verdict.balancer)
        return settings is not None and settings.remove

    def remove_session(self, head: RequestHead) -> None:
        """Take any session's id that this pool looks at out of a request's head."""
        cookies = [*self._own_names, *(cookie.name for cookie in self.cookie_names)]
        own = [self._own_parameter] if self._own_parameter else []
        without_session(head, cookies, [*own, *self.parameters])

    def attempts(self, link: Link, limit: int) -> int:
        """Return how often a request that failed at `link` may be sent again. Args: limit: the
        pool's own."""
        settings = self.balancers.get(link.balancer)
        return limit if settings is None else min(limit, settings.attempts)

    def lack(self, host: bytes, head: RequestHead) -> Failure:
        """Return why no node can be given such a request. Args: as `Applications.find`."""
        try:
            found = self.applications.find(host, head)
        except DoubtfulPath:
            return Failure.DOUBTFUL_PATH
        if found is None:
            # Where nothing at all is announced, 404 would be a guess: a restart looks like that.
            return Failure.NO_CONTEXT if self.applications.anything else Failure.NO_NODE
        if found.stopped and self._denies_stopped:
            return Failure.NO_CONTEXT
        return Failure.NO_NODE

    def wait_s(self, application: Serving | None) -> float:
        """Return how long a request may wait for a node, in seconds; 0 for not at all.

        Args: application: None if nothing is announced.
        """
        if application is None:
            return 0.0 if self.applications.anything else self._last_wait_s
        found = [self.balancers[name] for name in application.balancers if name in self.balancers]
        return max((each.wait_s for each in found), default=0.0)


def _matches_alias(mcmp: McmpSettings | None) -> bool:
    return mcmp is not None and mcmp.match_alias


def _hides_stopped(mcmp: McmpSettings | None) -> bool:
    return mcmp is not None and mcmp.all_stopped == _NOT_FOUND
