"""Explains one request: the decisions of the request path, with their reasons.

The objects that serve requests decide (see `rehearsal`); here their decisions are put into words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lbproxy.cli.rehearsal import USUAL, Rehearsal, Rehearsed, doubt, in_panic, offers_to
from lbproxy.cluster.node import Node
from lbproxy.cluster.sticky import FAILOVER, NEW, OWNER, RESULT_NAMES, STEP_NAMES, Verdict
from lbproxy.config.schema import Config, RouteSettings, StickySettings, StickyStep
from lbproxy.config.source_checks import gathers
from lbproxy.config.units import format_duration
from lbproxy.errors import Denied, Failure
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.wire.authority import host_of
from lbproxy.wire.fields import BadHead
from lbproxy.wire.request_head import RequestHead


@dataclass(slots=True)
class Explanation:
    """Args: status: of lbproxy's own answer, None if a node answers; passed, dropped: the fields
    that go on to the node and those that do not, of those that were given; why: a line a decision;
    node: empty if several are possible, which are then the candidates."""

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
    passed: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
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
    fields: Sequence[str] = (),
) -> Explanation:
    """Return the decisions on a request.

    Args: request: `GET https://idp.example.com/realms/x`; cookies: `name=value` each; nodes: by
    pool; now: monotonic seconds; live: these are all nodes of a running process, not only those
    that the file names; fields: `name: value` each.
    Raises: BadRequest; OSError if a pool's key file cannot be read.
    """
    found = Explanation(request=request)
    rehearsal = Rehearsal(config, nodes, now)
    try:
        head = rehearsal.parse(_as_bytes(request, cookies, fields))
    except BadHead as problem:
        return found.refuse(problem.failure, f"the request is refused: {problem}")
    if head is None:
        raise BadRequest("the request has no end")
    host = host_of(head.authority)
    found.host, found.path = host.decode(), head.path.decode("utf-8", "replace")
    if head.refused_method:
        return found.refuse(Failure.NOT_IMPLEMENTED, "no request of this method is passed on")
    if (listener := _redirect(config, request)) is not None:
        found.status, found.reason = 308, "redirect"
        found.why.append(f"who comes over plain HTTP is sent to listener {listener}: ask for https")
        return found
    try:
        pool = rehearsal.pool_for(host, head)
    except Denied as denied:
        return _denied(found, config, rehearsal, denied, host, head)
    _tell_route(found, config, rehearsal.route_of(host, head))
    _tell_fields(found, pool, head, fields)
    if not live and gathers(config, pool.name):
        found.why.append("nodes join this pool at run time: here only those of the file are known")
        if not nodes.get(pool.name):
            return found
    return _tell_node(found, config, rehearsal, rehearsal.with_nodes(pool.name), host, head)


def _as_bytes(request: str, cookies: Sequence[str], fields: Sequence[str]) -> bytes:
    method, _, url = request.strip().partition(" ")
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in ("http", "https"):
        raise BadRequest("write a method and an address: 'GET https://idp.example.com/realms/x'")
    authority, slash, path = rest.partition("/")
    lines = [f"{method} {slash}{path} HTTP/1.1" if slash else f"{method} / HTTP/1.1"]
    lines.append(f"Host: {authority}")
    if cookies:
        lines.append(f"Cookie: {'; '.join(cookies)}")
    lines += fields
    if any(mark in line for line in lines for mark in "\r\n"):
        raise BadRequest("the request holds a line break")
    return "\r\n".join([*lines, "", ""]).encode()


def _redirect(config: Config, request: str) -> str | None:
    """Return the listener that plain HTTP is redirected to, None if some listener serves it."""
    if not request.strip().partition(" ")[2].strip().startswith("http://"):
        return None
    targets = [listener.redirect_to for listener in config.listeners if listener.tls is None]
    return targets[0] if all(targets) and targets else None


def _denied(
    found: Explanation,
    config: Config,
    rehearsal: Rehearsal,
    denied: Denied,
    host: bytes,
    head: RequestHead,
) -> Explanation:
    """Take down why no pool serves the request."""
    if denied.failure is Failure.DOUBTFUL_PATH:
        return found.refuse(denied.failure, doubt(head.path, "pools"))
    if denied.failure is not Failure.HIDDEN_PATH:
        return found.refuse(denied.failure, "no route matches this host and path")
    _tell_route(found, config, rehearsal.route_of(host, head))
    rule = rehearsal.pool_named(denied.pool).visibility.hidden_by(head.path)
    found.hidden_by = f"hide: {rule.decode()}" if rule else "it is not below any prefix of expose"
    return found.refuse(denied.failure, f"the pool hides this path: {found.hidden_by}")


def _tell_route(found: Explanation, config: Config, index: int) -> None:
    route = config.routes[index]
    found.route, found.route_text, found.pool = index, _text(route), route.pool
    found.profile = config.pools[route.pool].profile
    found.why.append(f"routes[{index}] is the first that matches: {_text(route)}")


def _text(route: RouteSettings) -> str:
    return f"{route.host or 'any host'}, {route.path} -> {route.pool}"


def _tell_fields(found: Explanation, pool: Pool, head: RequestHead, fields: Iterable[str]) -> None:
    """Take down which of the given fields go on. Lets pass what the pool lets pass."""
    pool.let_pass(head)
    kept = {line.partition(b":")[0] for part in head.parts for line in part.split(b"\r\n")}
    if head.request_id:
        kept |= {name for name in _names(fields) if name.lower() == b"x-request-id"}
    for name in dict.fromkeys(_names(fields)):
        (found.passed if name in kept else found.dropped).append(name.decode())


def _names(fields: Iterable[str]) -> list[bytes]:
    return [field.partition(":")[0].encode() for field in fields]


def _tell_node(
    found: Explanation,
    config: Config,
    rehearsal: Rehearsal,
    pool: Pool,
    host: bytes,
    head: RequestHead,
) -> Explanation:
    """Take down who gets the request. Args: pool: with its nodes."""
    choice = rehearsal.choose(pool, host, head)
    if pool.announced is not None and not _tell_context(found, config, pool, choice, host, head):
        return found
    if in_panic(pool, choice.application):
        found.why.append("panic: too few nodes are usable, so health is ignored")
    _tell_affinity(found, pool, choice)
    if choice.owner is not None:
        found.node = choice.owner
        return found
    return _tell_balance(found, pool, choice)


def _tell_context(
    found: Explanation,
    config: Config,
    pool: Pool,
    choice: Rehearsed,
    host: bytes,
    head: RequestHead,
) -> bool:
    """Take down which context the request is for; return False if the explanation ends here."""
    assert pool.snapshot is not None
    contexts = offers_to(config, pool.snapshot.nodes, host, head.authority).contexts
    application = choice.application
    if application is None:
        if choice.failure is Failure.DOUBTFUL_PATH:
            found.refuse(choice.failure, doubt(head.path, "contexts"))
            return False
        known = ", ".join(sorted(contexts)) or "none"
        why = f"no context covers this path; announced are: {known}"
        found.refuse(choice.failure or Failure.NO_CONTEXT, why)
        return False
    if application.path:
        states = [f"{node.name} ({state.value})" for node, state in contexts[application.path]]
        found.why.append(
            f"context {application.path} covers the path longest, of {', '.join(states)}"
        )
    if choice.failure is Failure.NO_CONTEXT:
        found.refuse(choice.failure, "every node has stopped it (mcmp.all_stopped)")
        return False
    return True


def _tell_affinity(found: Explanation, pool: Pool, choice: Rehearsed) -> None:
    """Take down what affinity says."""
    verdict = choice.verdict
    if verdict is None:
        found.why.append("the pool has no affinity (sticky: off)")
        return
    if pool.announced is not None:
        found.why.append(
            f"{USUAL.cookie} and {USUAL.path_parameter} are looked at as well; other names that "
            "nodes announced are known only to the running process"
        )
    found.step, found.result = STEP_NAMES[verdict.step], RESULT_NAMES[verdict.result]
    found.why.append(_affinity_text(verdict, pool))
    # Things that only a running process knows.
    sticky = pool.settings.sticky or StickySettings()
    if StickyStep.LEARNED in sticky.by:
        found.why.append("learned sessions are known only to the running process")
    if StickyStep.OWN_COOKIE in sticky.by and sticky.own_cookie.key_file is None:
        found.why.append("own cookies cannot be read here: without key_file only their maker can")


def _affinity_text(verdict: Verdict, pool: Pool) -> str:
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
    routes = ", ".join(link.route.decode() for link in pool.links.values())
    return f"{step}: what was sent names none of the pool's routes ({routes})"


def _tell_queue(found: Explanation, pool: Pool) -> None:
    """Take down what happens while no node may take the request."""
    limits = {link.limit for link in pool.links.values() if link.limit}
    if limits:
        most = f"{min(limits)}" if len(limits) == 1 else f"{min(limits)} to {max(limits)}"
        found.why.append(f"a node with {most} requests is full (max_in_flight)")
    queue = pool.settings.queue
    if queue is False:
        found.why.append("while no node may take it the answer is 503 at once (queue: off)")
    else:
        wait = format_duration(queue.wait)
        found.why.append(f"while no node may take it, it waits up to {wait} (queue.wait), then 503")


def _tell_balance(found: Explanation, pool: Pool, choice: Rehearsed) -> Explanation:
    """Take down whom the balancer may choose, and the node itself if that is certain."""
    found.balance = pool.settings.balance.value
    verdict = choice.verdict
    if verdict is not None and verdict.lost and verdict.domain:
        found.why.append(f"nodes of its domain {verdict.domain} come first")
    if choice.failure is not None:
        _tell_queue(found, pool)
        return found.refuse(choice.failure, "no node takes new sessions")
    if pool.limited:
        _tell_queue(found, pool)
    found.candidates, found.node = list(choice.takers), choice.certain
    if verdict is not None and verdict.lost and pool.announced is not None:
        beyond = any(pool.links[name].domain != verdict.domain for name in choice.takers)
        if beyond or not verdict.domain:
            found.why.append(
                "503 if the nodes announced that sessions stay (StickySessionForce): "
                "known only to the running process"
            )
    found.why.append(f"{found.balance} chooses among {', '.join(found.candidates)}")
    return found
