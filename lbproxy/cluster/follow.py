"""Pools and nodes follow another configuration; what is known of those that stay is kept.

A node that did not change stays the same object. A new weight, route or packet size is just taken
over; where a probe would go another way (port, TLS, secret, the pool's `health`) the health stays,
but what counts from then on is what the new probes say. At another address it is another node: its
health is unknown as at a start, though what an operator commanded stays.

Nodes that the configuration names no more, and those of a source that their pool has no longer,
leave as `leaving` says. To a node that is new in the configuration others of its name, route or
address give way. A pool that is gone takes its nodes with it: no route leads there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from lbproxy.cluster import leaving
from lbproxy.cluster.health import (
    Aspect,
    EjectionState,
    ProbeState,
    Transition,
    ask_anew,
    end_ejection,
)
from lbproxy.cluster.node import Health, Node, Source, node_from_config
from lbproxy.cluster.roster import ABSENT, PRESENT, Changes, Entry, Roster
from lbproxy.config import schema

GONE = "gone from the configuration"
BACK = "back in the configuration"
_NO_PROBES = "health of its pool is off"
_NO_EJECTION = "ejection of its pool is off"
# What the configuration says of a node.
_SAID = (
    *("route", "scheme", "host", "port", "weight", "tls"),
    *("secret_file", "packet_size", "health_port"),
    "max_in_flight",
)
# Where one of these is another one, a probe asks in another way.
_PROBED_BY = ("tls", "secret_file", "health_port")


def follow(pools: dict[str, Roster], config: schema.Config, now: float) -> Changes:
    """Make the pools what a checked configuration says, in its order; return what to log."""
    changes: Changes = ()
    for name in [name for name in pools if name not in config.pools]:
        gone = pools.pop(name)
        for entry in [*gone.entries.values()]:
            changes += leaving.dismiss(gone, entry, f"its pool is {GONE}")
    for name, settings in config.pools.items():
        # Taken out and put back: so they come in the order of the configuration.
        pool = pools.pop(name, None) or Roster(name, settings)
        pools[name] = pool
        changes += _follow_settings(pool, settings, now)
        changes += _follow_nodes(pool, config, now)
    return changes


def joined(node: Node) -> Transition:
    """Return that a node has come."""
    reason = f"{node.source.value}: {node.url}, route {node.route}"
    return Transition(Aspect.MEMBERSHIP, ABSENT, PRESENT, reason)


def _follow_settings(pool: Roster, settings: schema.PoolSettings, now: float) -> Changes:
    before, pool.settings = pool.settings, settings
    changes: Changes = ()
    if before.health != settings.health:
        for entry in pool.entries.values():
            if settings.health is False:
                changes += _bring_up(pool, entry, now)
            elif before.health is not False:
                _ask_anew(pool, entry)
    if settings.ejection is False and before.ejection is not False:
        for entry in pool.entries.values():
            if entry.ejection.until is not None:
                _, ended = end_ejection(entry.ejection, now, _NO_EJECTION)
                changes += pool.return_to_use(entry, ended, now)
            entry.ejection = EjectionState()
    return changes


def _bring_up(pool: Roster, entry: Entry, now: float) -> Changes:
    """Take a node to be up, as one is that nobody probes."""
    entry.probe = ProbeState(health=Health.UP, since=now, reach=Health.UP)
    node = replace(entry.node, quarantined=False, gone_since=None)
    if node.health is Health.UP:
        pool.set(entry, node)
        return ()
    rose = node.health is not Health.DEGRADED
    change = Transition(Aspect.HEALTH, node.health.value, Health.UP.value, _NO_PROBES)
    up_since = now if rose else node.up_since
    pool.set(
        entry, replace(node, health=Health.UP, up_since=up_since, since=now, reason=_NO_PROBES)
    )
    return pool.changes(entry, change)


def _ask_anew(pool: Roster, entry: Entry) -> None:
    entry.probe = ask_anew(entry.probe)
    pool.set(entry, replace(entry.node, gone_since=None))


def _follow_nodes(pool: Roster, config: schema.Config, now: float) -> Changes:
    wanted = {each.name: node_from_config(pool.name, each) for each in pool.settings.nodes}
    changes: Changes = ()
    for entry in pool.entries.values():
        if entry.node.source is Source.CONFIG:
            there, why = entry.node.name in wanted, GONE
        else:
            why = f"its source {entry.node.source.value} is {GONE}"
            there = _may_come(entry.node.source, pool.name, config)
        if not there:
            leaving.lose(entry, why)
        elif entry.leaving is not None and entry.leaving.reason == why:
            changes += leaving.take_back(pool, entry, BACK, now)
    # Whoever stays takes its new route before anybody who comes may want its old one.
    for name, node in wanted.items():
        known = pool.entries.get(name)
        if known is not None and known.node.source is Source.CONFIG:
            changes += _change(pool, known, node, now)
    for name, node in wanted.items():
        known = pool.entries.get(name)
        if known is None or known.node.source is not Source.CONFIG:
            changes += _add(pool, node, now)
    pool.order(wanted)
    return changes + leaving.let_go(pool, now)


def _may_come(source: Source, pool: str, config: schema.Config) -> bool:
    """Return True if nodes of a source come to a pool, other than from its list."""
    if source is Source.DNS:
        return config.pools[pool].discover is not None
    if config.mcmp is False or config.mcmp.pool != pool:
        return False
    return source is Source.MCMP or config.mcmp.agents is not False


def _change(pool: Roster, entry: Entry, wanted: Node, now: float) -> Changes:
    """Make a node of the configuration what it is now."""
    told = {name: getattr(wanted, name) for name in _SAID}
    changes, _ = leaving.make_way(pool, wanted)
    return changes + respecify(pool, entry, replace(entry.node, **told), now)


def respecify(pool: Roster, entry: Entry, node: Node, now: float) -> Changes:
    """Give a node what the configuration says of it now. Args: node: what is known, with that."""
    old = entry.node
    if node == old:
        return ()
    reason = ", ".join(_differences(old, node))
    if node.host != old.host:
        node = replace(node, addresses=())
    if leaving.is_same_place(old, node):
        pool.set(entry, node)
        if any(getattr(node, name) != getattr(old, name) for name in _PROBED_BY):
            _ask_anew(pool, entry)
        words = ("as configured", "as configured anew")
    else:
        unknown = replace(
            node, health=Health.UNKNOWN, ejected=False, up_since=0.0, reason="", gone_since=None
        )
        pool.renew(entry, unknown, now)
        words = (old.url, node.url)
    return pool.changes(entry, Transition(Aspect.SETTINGS, *words, reason))


def _add(pool: Roster, node: Node, now: float) -> Changes:
    changes, same = leaving.make_way(pool, node)
    entry = pool.add(node, now)
    changes += pool.changes(entry, joined(node))
    if same is not None:
        leaving.inherit(pool, entry, same)
    return changes


def _differences(old: Node, new: Node) -> Iterator[str]:
    """Yield in words what the configuration says otherwise than before."""
    if old.url != new.url:
        yield f"url {old.url} -> {new.url}"
    for name in _SAID:
        before, after = getattr(old, name), getattr(new, name)
        if name in ("scheme", "host", "port") or before == after:
            continue
        if name == "tls":
            for part in fields(before):
                values = (getattr(before, part.name), getattr(after, part.name))
                if values[0] != values[1]:
                    yield f"tls.{part.name} {_say(values[0])} -> {_say(values[1])}"
        else:
            yield f"{name} {_say(before)} -> {_say(after)}"


def _say(value: object) -> str:
    return "none" if value is None else str(value)
