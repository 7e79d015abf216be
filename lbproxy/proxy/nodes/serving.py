"""Path -> application, as one worker keeps it: who of the links serves it, and how many requests
of it are at each node.

A snapshot only marks what is known as old. What a request needs is brought up to date when that
request comes, so that a burst of changes in a large pool costs one look for each application in
use, not one for each change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from lbproxy.cluster.applications import ROOT, Offers, Surveyor, aliases, application
from lbproxy.cluster.balance import Balancer, Member, make_balancer
from lbproxy.cluster.node import Node
from lbproxy.config.schema import PoolSettings
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.readings import readings_of
from lbproxy.routing.paths import DoubtfulPath, readings
from lbproxy.wire.request_head import RequestHead

# Counts of nodes and contexts that are gone are swept when there are more than this, and then
# when there are twice as many as were left.
_SWEEP_ABOVE = 1024

_ESCAPE = re.compile("%[0-9A-F]{2}")


def balances_alike(one: PoolSettings, other: PoolSettings) -> bool:
    """Return True if a balancer of one of them is one of the other."""
    return (one.balance, one.slow_start) == (other.balance, other.slow_start)


class Tally:
    """How many requests of one context are at one node now."""

    def __init__(self) -> None:
        self.count: int = 0


class Serving:
    """One context and the links that serve it.

    Attributes: path: of the context, empty for what no context covers; owners: the links that take
    sessions that they own; stopped: every node that has the context has stopped it; balancers:
    names of the settings that hold for its nodes.
    """

    def __init__(self, path: str, settings: PoolSettings, seed: int) -> None:
        self.path = path
        self.owners: dict[Member, None] = {}
        self.panic: bool = False
        self.stopped: bool = False
        self.balancers: frozenset[str] = frozenset()
        self.version: int = -1
        self.loads: int = 0
        self.tallies: dict[Member, Tally] = {}
        self._settings = settings
        self._seed = seed
        self._balancer: Balancer = make_balancer(settings.balance, settings.slow_start, seed)
        self._takers: list[Member] = []
        self._spares: list[Member] = []
        # For failover: by domain, those of the takers and of the spares; made when asked for.
        self._domains: dict[str, Balancer] = {}
        self._spare_domains: dict[str, Balancer] = {}

    def replace(
        self, takers: list[Member], owners: dict[Member, None], spares: list[Member]
    ) -> None:
        """Take over the links. Args: as `cluster.applications.Application`."""
        self.owners = owners
        self.tallies = {}
        self._takers = takers
        self._spares = spares
        self._domains = {}
        self._spare_domains = {}
        self._balancer.replace(takers)

    def follow(self, settings: PoolSettings) -> None:
        """Choose by other settings from now on."""
        before, self._settings = self._settings, settings
        if balances_alike(before, settings):
            return
        self._balancer = make_balancer(settings.balance, settings.slow_start, self._seed)
        self._balancer.replace(self._takers)
        self._domains = {}
        self._spare_domains = {}

    def refresh(self) -> None:
        """Take in that loads or weights changed."""
        self._balancer.refresh()
        for balancers in (self._domains, self._spare_domains):
            for balancer in balancers.values():
                balancer.refresh()

    def pick(self, now: float, session: bytes | None, tried: list[Member] | None) -> Member | None:
        """Return who gets a new session, none of `tried`, or None."""
        return self._balancer.pick(now, session, tried)

    def pick_inside(
        self, domain: str, now: float, session: bytes | None, tried: list[Member] | None
    ) -> Member | None:
        """Return who takes over a session inside a domain, none of `tried`, or None.

        A node that has the context disabled does if no other of the domain can.
        """
        balancer = self._inside(self._domains, domain, self._takers)
        found = balancer.pick(now, session, tried)
        if found is None and self._spares:
            balancer = self._inside(self._spare_domains, domain, self._spares)
            found = balancer.pick(now, session, tried)
        return found

    def _inside(self, known: dict[str, Balancer], domain: str, members: list[Member]) -> Balancer:
        """Return the balancer over the members of a domain; there may be none of them."""
        balancer = known.get(domain)
        if balancer is None:
            settings = self._settings
            balancer = make_balancer(settings.balance, settings.slow_start, self._seed)
            balancer.replace([member for member in members if member.domain == domain])
            known[domain] = balancer
        return balancer


class Table:
    """The contexts that one host sees. Args: names: of its virtual hosts, None for all of them."""

    def __init__(self, names: tuple[str, ...] | None) -> None:
        self.names = names
        self.version: int = -1
        self.offers: Offers = Offers({}, ())
        self.applications: dict[str | None, Serving] = {}
        self.divided: bool = False  # the path decides
        self._contexts: dict[bytes, str] = {}
        self._longest: int = 0

    def replace(self, offers: Offers) -> None:
        """Take over what the nodes offer; applications that are still there are kept."""
        self.offers = offers
        self._contexts = {}
        for path in offers.contexts:
            # As clients spell it as well: else the readings of such a path would never agree.
            spelled = quote(path)
            self._contexts[spelled.encode()] = path
            self._contexts[_ESCAPE.sub(lambda hit: hit[0].lower(), spelled).encode()] = path
        self._contexts |= {path.encode(): path for path in offers.contexts}
        self._longest = max(map(len, self._contexts), default=0)
        self.divided = any(path != ROOT for path in offers.contexts)
        self.applications = {
            path: known
            for path, known in self.applications.items()
            if path in offers.contexts or path is None
        }

    def find(self, path: bytes) -> str | None:
        """Return the longest context that covers a path by whole segments, or None.

        Args: path: as sent, without the query. Raises: DoubtfulPath: its readings lead to
        different contexts.
        """
        return self.find_in(readings(b"/" if path == b"*" else path))

    def find_in(self, ways: tuple[bytes, ...]) -> str | None:
        """Return what `find` returns. Args: ways: the path's readings."""
        context = self._read(ways[0])
        for number in range(1, len(ways)):
            if self._read(ways[number]) != context:
                raise DoubtfulPath("the readings of the path lead to different contexts")
        return context

    def any_path(self) -> str | None:
        """Return the context of every path, for a table that is not divided."""
        return self._contexts.get(b"/")

    def _read(self, path: bytes) -> str | None:
        contexts = self._contexts
        end = path.find(b";")
        if end < 0:
            end = len(path)
        if end > self._longest:
            size = end
            end = self._longest
            if end < size and path[end] != 0x2F:
                end = path.rfind(b"/", 0, end)
        while end > 0:
            found = contexts.get(path[:end])
            if found is not None:
                return found
            end = path.rfind(b"/", 0, end)
        return contexts.get(b"/")


class Applications:
    """The applications of one pool.

    Args: match_alias: virtual hosts count only for hosts that are among their aliases; seed: of
    the balancers' draws.
    """

    def __init__(self, settings: PoolSettings, match_alias: bool, seed: int) -> None:
        self._settings = settings
        self._match_alias: bool = match_alias
        self._seed = seed
        self._version: int = 0
        self._loads: int = 0
        self._nodes: Sequence[Node] = ()
        self._links: Mapping[str, Link] = {}
        self._aliases: set[str] = set()
        self._surveyor = Surveyor()
        self._table: Table = Table(None)
        self._tables: dict[tuple[str, ...], Table] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._sweep_above: int = _SWEEP_ABOVE
        self.anything: bool = False

    def follow(self, settings: PoolSettings, match_alias: bool) -> None:
        """Take over other settings; `replace` comes behind it."""
        self._settings = settings
        if match_alias is not self._match_alias:
            self._match_alias = match_alias
            self._table = Table(None)
            self._tables = {}
        for table in (self._table, *self._tables.values()):
            for served in table.applications.values():
                served.follow(settings)

    def replace(self, nodes: Sequence[Node], links: Mapping[str, Link]) -> None:
        """Take over the nodes of a snapshot. Args: links: at least theirs, by name."""
        self._version += 1
        self._nodes = nodes
        self._links = links
        self.anything = any(
            node.virtual_hosts is None or any(host.contexts for host in node.virtual_hosts)
            for node in nodes
        )
        if self._match_alias:
            self._aliases = aliases(nodes)
            self._tables = {
                names: table
                for names, table in self._tables.items()
                if self._aliases.issuperset(names)
            }
        if len(self._tallies) > self._sweep_above:
            self._tallies = {key: tally for key, tally in self._tallies.items() if tally.count}
            self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._tallies))

    def refresh(self) -> None:
        """Take in that loads or weights of the nodes changed, and nothing else."""
        self._loads += 1

    def find(self, host: bytes, head: RequestHead) -> Serving | None:
        """Return the application that a request is for, or None if no context covers its path.

        Args: host: in lower case, without port.
        Raises: DoubtfulPath: the path's readings lead to different applications.
        """
        table = self._table
        if self._match_alias:
            table = self._table_of(host, head.authority)
        if table.version != self._version:
            table.replace(self._surveyor.offers(self._nodes, table.names))
            table.version = self._version
        context = table.find_in(readings_of(head)) if table.divided else table.any_path()
        if context is None and not table.offers.everywhere:
            return None
        found = table.applications.get(context)
        if found is None:
            found = Serving(context or "", self._settings, self._seed)
            table.applications[context] = found
        if found.version != self._version:
            self._update(table.offers, context, found)
        elif found.loads != self._loads:
            found.loads = self._loads
            found.refresh()
        return found

    def tally(self, found: Serving, link: Link) -> Tally:
        """Return what counts the requests of an application at a node."""
        # After a snapshot of which the application does not know yet its own may be swept.
        current = found.version == self._version
        tally = found.tallies.get(link) if current else None
        if tally is None:
            key = (link.name, found.path)
            tally = self._tallies.get(key)
            if tally is None:
                tally = self._tallies[key] = Tally()
            if current:
                found.tallies[link] = tally
        return tally

    def in_flight(self, node: str, context: str) -> int:
        """Return how many requests of a context are at a node, 0 for unknown ones."""
        tally = self._tallies.get((node, context.rstrip("/") or ROOT))
        return 0 if tally is None else tally.count

    def _table_of(self, host: bytes, authority: bytes) -> Table:
        known = self._aliases
        wanted = {host.decode("latin-1"), authority.lower().decode("latin-1")}
        names = tuple(sorted(name for name in wanted if name in known))
        table = self._tables.get(names)
        if table is None:
            # One for each host that is somebody's alias, with and without its port, and one.
            table = self._tables[names] = Table(names)
        return table

    def _update(self, offers: Offers, context: str | None, found: Serving) -> None:
        model = application(offers, context, self._settings.panic_threshold)
        links = self._links
        found.replace(
            [links[node.name] for node in model.takes_new],
            {links[node.name]: None for node in model.takes_owned},
            [links[node.name] for node in model.spares],
        )
        found.panic = model.panic
        found.stopped = model.stopped
        found.balancers = model.balancers
        found.version = self._version
        found.loads = self._loads
