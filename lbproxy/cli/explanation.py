"""What would become of one request: the decisions of the request path, with their reasons.

It asks the objects that serve requests (parser, route table, visibility, affinity, balancer), fed
with one request and one view of the nodes, so that the explanation cannot differ from the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lbproxy.cluster.applications import Application, Surveyor, aliases, application
from lbproxy.cluster.balance import Member, make_balancer
from lbproxy.cluster.candidates import Candidates, candidates
from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Node
from lbproxy.cluster.snapshot import PoolSnapshot
from lbproxy.cluster.sticky import (
    FAILOVER,
    NEW,
    OWNER,
    RESULT_NAMES,
    STEP_NAMES,
    Affinity,
    Verdict,
)
from lbproxy.config.schema import (
    Config,
    Policy,
    PoolSettings,
    RouteSettings,
    StickySettings,
    StickyStep,
)
from lbproxy.config.source_checks import gathers
from lbproxy.errors import Failure
from lbproxy.proxy.forwarding.rules import drop_rules
from lbproxy.proxy.nodes.serving import Table
from lbproxy.routing.paths import DoubtfulPath, Visibility, readings, refuse_doubtful
from lbproxy.routing.routes import RouteTable
from lbproxy.runtime.keys import affinity_keys
from lbproxy.wire.authority import host_of
from lbproxy.wire.cookies import path_parameter, values
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_request import RequestHead, RequestParser

_USUAL = BalancerSettings("")  # what nodes announce unless they are told otherwise


@dataclass(slots=True)
class Explanation:
    """Args: status: of lbproxy's own answer, None where a node answers; why: a line a decision;
    node: None where several are possible, which are then the candidates."""

    request: str
    host: str = ""
    path: str = ""
    status: int | None = None
    reason: str = ""
    route: int | None = None
    route_text: str = ""
    pool: str = ""
    profile: str = ""
    hidden_by: str = ""
    step: str = ""
    result: str = ""
    balance: str = ""
    node: str = ""
    candidates: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def refuse(self, failure: Failure, why: str) -> Explanation:
        """Take down that lbproxy answers itself."""
        self.status, self.reason = failure.status, failure.reason
        self.why.append(why)
        return self


class BadRequest(ValueError):
    """The command line holds no request: `METHOD URL` is wanted."""


def explain(
    config: Config,
    request: str,
    cookies: Sequence[str],
    nodes: Mapping[str, tuple[Node, ...]],
    now: float,
    *,
    live: bool = True,
) -> Explanation:
    """Return what would become of a request.

    Args: request: `GET https://idp.example.com/realms/x`; cookies: `name=value` each; nodes: by
    pool; now: monotonic seconds; live: these are all nodes of a running process, not only those
    that the file names.
    Raises: BadRequest; OSError where a pool's key file cannot be read.
    """
    found = Explanation(request=request)
    limits = config.limits
    parser = RequestParser(
        HeadLimits(limits.request_line, limits.head, limits.fields), drop_rules(())
    )
    try:
        head = parser.parse(_as_bytes(request, cookies), 0, False)
    except BadHead as problem:
        failure = next(
            (row for row in Failure if row.reason == problem.reason), Failure.BAD_REQUEST
        )
        return found.refuse(failure, f"the request is refused: {problem}")
    if head is None:
        raise BadRequest("the request has no end")
    host = host_of(head.authority)
    found.host, found.path = host.decode(), head.path.decode("utf-8", "replace")
    if (listener := _redirect(config, request)) is not None:
        found.status, found.reason = 308, "redirect"
        found.why.append(f"who comes over plain HTTP is sent to listener {listener}: ask for https")
        return found
    try:
        index = _route(config, host, head.path)
    except DoubtfulPath as problem:
        return found.refuse(Failure.DOUBTFUL_PATH, str(problem))
    if index is None:
        return found.refuse(Failure.NO_ROUTE, "no route matches this host and path")
    route = config.routes[index]
    found.route, found.route_text, found.pool = index, _text(route), route.pool
    found.why.append(f"routes[{index}] is the first that matches: {_text(route)}")
    settings = config.pools[route.pool]
    found.profile = settings.profile
    if head.path != b"*" and (hider := _hider(settings, head.path)) is not None:
        found.hidden_by = hider
        return found.refuse(Failure.HIDDEN_PATH, f"the pool hides this path: {hider}")
    there = nodes.get(route.pool, ())
    if not live and gathers(config, route.pool):
        found.why.append("nodes join this pool at run time: here only those of the file are known")
        if not there:
            return found
    chosen = _chosen(config, there, found, head, host)
    if chosen is None:
        return found
    key = affinity_keys(config).get(route.pool, b"")
    members = _members(there, chosen, found)
    announced = any(node.virtual_hosts is not None for node in there)
    verdict = _affinity(found, settings, members, head, key, now, announced)
    if verdict is not None and verdict.member is not None:
        found.node = verdict.member.name
        return found
    return _balance(found, settings, members, verdict, now)


def _as_bytes(request: str, cookies: Sequence[str]) -> bytes:
    method, _, url = request.strip().partition(" ")
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in ("http", "https"):
        raise BadRequest("write a method and an address: 'GET https://idp.example.com/realms/x'")
    authority, slash, path = rest.partition("/")
    lines = [f"{method} {slash}{path} HTTP/1.1" if slash else f"{method} / HTTP/1.1"]
    lines.append(f"Host: {authority}")
    if cookies:
        lines.append(f"Cookie: {'; '.join(cookies)}")
    if any(mark in line for line in lines for mark in "\r\n"):
        raise BadRequest("the request holds a line break")
    return "\r\n".join([*lines, "", ""]).encode()


def _redirect(config: Config, request: str) -> str | None:
    """Return the listener that plain HTTP is redirected to, None where some listener serves it."""
    if not request.strip().partition(" ")[2].strip().startswith("http://"):
        return None
    targets = [listener.redirect_to for listener in config.listeners if listener.tls is None]
    return targets[0] if all(targets) and targets else None


def _route(config: Config, host: bytes, path: bytes) -> int | None:
    """Return the index of the route that matches, whatever way the path is read.

    Raises: DoubtfulPath.
    """
    table = RouteTable(
        [
            (None if route.host is None else route.host.encode(), route.path.encode(), route.pool)
            for route in config.routes
        ]
    )
    if path == b"*":
        return table.index(host, b"/")
    index = table.index(host, path)
    pool = None if index is None else config.pools[config.routes[index].pool]
    if pool is not None and not table.divided(host) and not pool.hide and not pool.expose:
        refuse_doubtful(path)
    elif len({table.lookup(host, reading) for reading in readings(path)}) > 1:
        raise DoubtfulPath("the readings of the path lead to different pools")
    return index


def _hider(settings: PoolSettings, path: bytes) -> str | None:
    visibility = Visibility(
        [prefix.encode() for prefix in settings.hide],
        [prefix.encode() for prefix in settings.expose],
        [prefix.encode() for prefix in settings.tenant_prefixes],
        settings.hide_extensions,
    )
    rule = visibility.hidden_by(path)
    if rule is None:
        return None
    return f"hide: {rule.decode()}" if rule else "it is not below any prefix of expose"


def _text(route: RouteSettings) -> str:
    return f"{route.host or 'any host'}, {route.path} -> {route.pool}"


def _chosen(
    config: Config, nodes: tuple[Node, ...], found: Explanation, head: RequestHead, host: bytes
) -> Candidates | Application | None:
    """Return the nodes in question, of those that announced what is asked for; None where the
    explanation ends here."""
    threshold = config.pools[found.pool].panic_threshold
    if all(node.virtual_hosts is None for node in nodes):
        return candidates(PoolSnapshot(found.pool, nodes), threshold)
    mcmp = config.mcmp if config.mcmp is not False and config.mcmp.pool == found.pool else None
    names = None
    if mcmp is not None and mcmp.match_alias:
        wanted = {host.decode(), head.authority.lower().decode()}
        names = tuple(sorted(wanted & aliases(nodes)))
    table = Table(names)
    table.replace(Surveyor().offers(nodes, names))
    try:
        context = table.find(head.path)
    except DoubtfulPath as problem:
        found.refuse(Failure.DOUBTFUL_PATH, str(problem))
        return None
    contexts = table.offers.contexts
    if context is None and not table.offers.everywhere:
        known = ", ".join(sorted(contexts)) or "none"
        found.refuse(Failure.NO_CONTEXT, f"no context covers this path; announced are: {known}")
        return None
    if context is not None:
        states = [f"{node.name} ({state.value})" for node, state in contexts[context]]
        found.why.append(f"context {context} covers the path longest, of {', '.join(states)}")
    chosen = application(table.offers, context, threshold)
    if chosen.stopped and mcmp is not None and mcmp.all_stopped == Failure.NO_CONTEXT.status:
        found.refuse(Failure.NO_CONTEXT, "every node has stopped it (mcmp.all_stopped)")
        return None
    return chosen


def _members(
    nodes: tuple[Node, ...], chosen: Candidates | Application, found: Explanation
) -> list[Member]:
    """Return the pool's nodes as the balancer of a worker has them."""
    if chosen.panic:
        found.why.append("panic: too few nodes are usable, so health is ignored")
    members = []
    for node in nodes:
        load = float(node.load or 0)
        member = Member(node.name, node.route.encode(), float(node.weight), load, node.up_since)
        member.domain = node.domain
        member.takes_new = node in chosen.takes_new
        member.takes_owned = node in chosen.takes_owned
        members.append(member)
    return members


def _affinity(
    found: Explanation,
    settings: PoolSettings,
    members: list[Member],
    head: RequestHead,
    key: bytes,
    now: float,
    announced: bool,
) -> Verdict | None:
    """Take down what affinity says; None where the pool has none. Args: announced: its nodes
    announce what they serve, and so where sessions are."""
    sticky = settings.sticky or (StickySettings() if announced else False)
    if not sticky:
        found.why.append("the pool has no affinity (sticky: off)")
        return None
    affinity = Affinity(sticky, found.pool, key)
    affinity.follow_announced(announced)
    affinity.replace(members)
    lines = head.cookies or []
    names = [name.encode() for name in (sticky.cookie, *sticky.also) if name]
    if announced:
        names.append(_USUAL.cookie.encode())
        found.why.append(
            f"{_USUAL.cookie} and {_USUAL.path_parameter} are looked at as well; other names that "
            "nodes announced are known only to the running process"
        )
    sent = [value for name in names for line in lines for value in values(line, name)]
    own_name = sticky.own_cookie.name.encode()
    own = [value for line in lines for value in values(line, own_name)]
    parameters: list[bytes] = []
    if StickyStep.PATH_PARAMETER in sticky.by and sticky.path_parameter:
        parameters = path_parameter(head.path, sticky.path_parameter.encode())
    if announced:
        parameters += path_parameter(head.path, _USUAL.path_parameter.encode())
    verdict = affinity.decide(now, sent, own, parameters)
    found.step, found.result = STEP_NAMES[verdict.step], RESULT_NAMES[verdict.result]
    found.why.append(_affinity_text(verdict, members))
    # What a running process knows and this one does not.
    if StickyStep.LEARNED in sticky.by:
        found.why.append("learned sessions are known only to the running process")
    if StickyStep.OWN_COOKIE in sticky.by and sticky.own_cookie.key_file is None:
        found.why.append("own cookies cannot be read here: without key_file only their maker can")
    return verdict


def _affinity_text(verdict: Verdict, members: list[Member]) -> str:
    step = STEP_NAMES[verdict.step]
    if verdict.result == OWNER and verdict.member is not None:
        if step == StickyStep.HASH.value:
            return f"hash: {verdict.member.name} scores highest for the session's id"
        return f"{step}: the session belongs to {verdict.member.name}"
    if verdict.result == FAILOVER:
        return f"{step}: the session's node is gone, or takes no requests"
    if verdict.result == NEW:
        return "there is no session yet: no value that names an owner was sent"
    if step == StickyStep.OWN_COOKIE.value:
        return "own_cookie: the cookie was not made for any node of this pool"
    routes = ", ".join(member.route.decode() for member in members)
    return f"{step}: what was sent names none of the pool's routes ({routes})"


def _balance(
    found: Explanation,
    settings: PoolSettings,
    members: list[Member],
    verdict: Verdict | None,
    now: float,
) -> Explanation:
    """Take down whom the balancer may choose, and the node itself where that is certain."""
    found.balance = settings.balance.value
    takers = [member for member in members if member.takes_new]
    if verdict is not None and verdict.lost and verdict.domain:
        inside = [member for member in takers if member.domain == verdict.domain]
        found.why.append(f"nodes of its domain {verdict.domain} come first")
        takers = inside or takers
    if not takers:
        return found.refuse(Failure.NO_NODE, "no node takes new sessions")
    found.candidates = [member.name for member in takers]
    session = verdict.session if verdict is not None else None
    if len(takers) == 1 or (settings.balance is Policy.HASH and session):
        balancer = make_balancer(settings.balance, settings.slow_start, 0)
        balancer.replace(takers)
        picked = balancer.pick(now, session, None)
        found.node = picked.name if picked is not None else ""
    found.why.append(f"{found.balance} chooses among {', '.join(found.candidates)}")
    return found
