"""From a request to a command: its parameters, their meaning, and the missing ones.

Names are compared without regard to case, unknown ones are left alone (new nodes send new ones).
Alias and Context may come several times; of every other name the last value holds.

Source: MCMP reference, sections 2.2 and 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lbproxy.wire.mcmp import (
    KEEP,
    AnnouncedBalancer,
    AnnouncedNode,
    AppCommand,
    AppVerb,
    ConfigCommand,
    McmpCommand,
    PingAddress,
    PingCommand,
    QueryCommand,
    StatusCommand,
)
from lbproxy.wire.mcmp_text import (
    MAX_CONTEXT,
    MAX_VALUE,
    parse_count,
    parse_flag,
    parse_flush,
    parse_form,
    parse_host,
    parse_list,
    parse_milliseconds,
    parse_port,
    parse_route,
    parse_seconds,
    parse_signed,
    parse_token,
    plain,
    syntax,
)

MAX_LOAD = 100
_LISTS = ("alias", "context")
_APP_VERBS = {verb.value: verb for verb in AppVerb}
_QUERIES = {query.value: query for query in QueryCommand}
T = TypeVar("T")
# `Reversed` is sent by old nodes and means nothing to any proxy.
_CONFIG_NAMES = frozenset(
    (
        *("balancer", "stickysession", "stickysessioncookie", "stickysessionpath"),
        *("stickysessionremove", "stickysessionforce", "waitworker", "maxattempts", "jvmroute"),
        *("domain", "host", "port", "type", "reversed", "flushpackets", "flushwait", "ping"),
        *("smax", "ttl", "timeout", "alias", "context"),
    )
)
_APP_NAMES = frozenset({"jvmroute", "alias", "context"})
_STATUS_NAMES = frozenset({"jvmroute", "load"})
_PING_NAMES = frozenset({"jvmroute", "scheme", "host", "port"})


def read_command(method: str, wildcard: bool, body: bytes) -> tuple[McmpCommand, tuple[str, ...]]:
    """Return a node's command, and the names of parameters that were left alone.

    Args: method: one of `mcmp.METHODS`; wildcard: the target ends in `*`. Raises: Refused.
    """
    if method in _QUERIES:
        return _QUERIES[method], ()
    given = _Given(body)
    match method:
        case "CONFIG":
            return _config(given), given.ignored(_CONFIG_NAMES)
        case "STATUS":
            return _status(given), given.ignored(_STATUS_NAMES)
        case "PING":
            return _ping(given), given.ignored(_PING_NAMES)
        case _:
            return _app(_APP_VERBS[method], wildcard, given), given.ignored(_APP_NAMES)


class _Given:
    """The parameters of one message."""

    def __init__(self, body: bytes) -> None:
        self._single: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {name: [] for name in _LISTS}
        for name, value in parse_form(body):
            name = name.lower()
            if name in self._lists:
                self._lists[name].append(value)
            else:
                self._single[name] = value

    def get(self, name: str) -> str | None:
        """Return a value; one that is empty counts as absent."""
        return self._single.get(name) or None

    def read(
        self, name: str, parse: Callable[[str, str], T], default: T, *, empty: bool = False
    ) -> T:
        """Return a parameter's value. Args: empty: an empty value is one, too."""
        text = self._single.get(name.lower())
        return default if text is None or not (text or empty) else parse(name, text)

    def ignored(self, known: frozenset[str]) -> tuple[str, ...]:
        names = [*self._single, *(name for name, values in self._lists.items() if values)]
        return tuple(name for name in names if name not in known)

    def route(self) -> str:
        return parse_route(self._single.get("jvmroute", ""))

    def aliases(self) -> tuple[str, ...]:
        return parse_list("Alias", self._lists["alias"], MAX_VALUE)

    def contexts(self) -> tuple[str, ...]:
        contexts = parse_list("Context", self._lists["context"], MAX_CONTEXT)
        for context in contexts:
            if not context.startswith("/"):
                syntax("Context must begin with /")
        return contexts


def _config(given: _Given) -> ConfigCommand:
    node, balancer = _announced(given), _balancer(given)
    aliases, contexts = given.aliases(), given.contexts()
    if bool(aliases) != bool(contexts):
        syntax("Alias and Context come together or not at all")
    return ConfigCommand(node, balancer, aliases, contexts)


def _announced(given: _Given) -> AnnouncedNode:
    default = AnnouncedNode(given.route())
    smax = given.read("smax", parse_signed, -1)
    return AnnouncedNode(
        route=default.route,
        domain=given.read("Domain", plain, default.domain),
        host=given.read("Host", parse_host, default.host),
        # An empty port is no number; no port at all is the default one.
        port=given.read("Port", parse_port, default.port, empty=True),
        scheme=given.read("Type", parse_token, default.scheme).lower(),
        flush=given.read("flushpackets", parse_flush, default.flush),
        flush_wait_ms=given.read("flushwait", parse_milliseconds, default.flush_wait_ms),
        ping_s=given.read("ping", parse_seconds, 0.0) or None,
        smax=smax if smax >= 0 else None,
        ttl_s=given.read("ttl", parse_seconds, 0.0) or None,
        timeout_s=given.read("Timeout", parse_seconds, 0.0) or None,
    )


def _balancer(given: _Given) -> AnnouncedBalancer:
    default = AnnouncedBalancer()
    return AnnouncedBalancer(
        name=given.read("Balancer", plain, default.name).lower(),
        sticky=given.read("StickySession", parse_flag, default.sticky),
        cookie=given.read("StickySessionCookie", parse_token, default.cookie),
        path_parameter=given.read("StickySessionPath", parse_token, default.path_parameter),
        remove=given.read("StickySessionRemove", parse_flag, default.remove),
        force=given.read("StickySessionForce", parse_flag, default.force),
        wait_s=given.read("WaitWorker", parse_seconds, default.wait_s),
        attempts=given.read("Maxattempts", parse_count, default.attempts),
    )


def _app(verb: AppVerb, wildcard: bool, given: _Given) -> AppCommand:
    route = given.route()
    if wildcard:
        return AppCommand(verb, route, everything=True)
    aliases, contexts = given.aliases(), given.contexts()
    if not aliases:
        syntax("Alias is missing")
    if not contexts:
        syntax("Context is missing")
    return AppCommand(verb, route, aliases=aliases, contexts=contexts)


def _status(given: _Given) -> StatusCommand:
    route = given.route()
    load = given.read("Load", parse_signed, KEEP)
    if not KEEP <= load <= MAX_LOAD:
        syntax(f"Load must be from {KEEP} to {MAX_LOAD}")
    return StatusCommand(route, load)


def _ping(given: _Given) -> PingCommand:
    if given.get("jvmroute"):
        return PingCommand(route=given.route())
    scheme, host, port = (given.get(name) for name in ("scheme", "host", "port"))
    if scheme is None and host is None and port is None:
        return PingCommand()
    if scheme is None or host is None or port is None:
        syntax("Scheme, Host and Port come together or not at all")
    scheme = scheme.lower()
    if scheme not in ("http", "https", "ajp"):
        syntax("Scheme must be http, https or ajp")
    return PingCommand(
        address=PingAddress(scheme, parse_host("Host", host), parse_port("Port", port))
    )
