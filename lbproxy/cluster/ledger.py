"""The counters of all workers as one: they add up, and never go back when a worker has ended.

A worker counts from its own start. The ledger keeps the last word of each; when one has ended, what
it counted stays in the sums, and what it held (requests in flight, connections) is gone with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from lbproxy.cluster.stats import NodeStats, PoolStats, WorkerStats

K = TypeVar("K")
N = TypeVar("N", int, float)


class Ledger:
    """The last word of each worker, by a number of its own, and the sums of those that ended."""

    def __init__(self) -> None:
        self._words: dict[int, WorkerStats] = {}
        self._ended: WorkerStats | None = None
        self._total: WorkerStats | None = None

    @classmethod
    def of(cls, worker: int, stats: WorkerStats) -> Ledger:
        """Return one that knows the word of one worker."""
        made = cls()
        made.take(worker, stats)
        return made

    @property
    def workers(self) -> frozenset[int]:
        """The workers whose word is known and that have not ended."""
        return frozenset(self._words)

    def take(self, worker: int, stats: WorkerStats) -> None:
        """Take in what a worker has counted since its start."""
        self._words[worker] = stats
        self._total = None

    def retire(self, worker: int) -> None:
        """A worker has ended; one of which nothing was ever heard may be named, too."""
        last = self._words.pop(worker, None)
        if last is not None:
            left = _left(last)
            self._ended = left if self._ended is None else _sum((self._ended, left))
            self._total = None

    def total(self) -> WorkerStats:
        """Return the counters of all workers there are and were.

        What no worker has any more, a pool or a node that has left, has no counters any more.
        """
        if self._total is None:
            self._total = self._add_up()
        return self._total

    def _add_up(self) -> WorkerStats:
        words = [*self._words.values()]
        ended = self._ended
        if not words:
            return WorkerStats() if ended is None else ended
        if ended is not None:
            return _sum((*words, _known(ended, words)))
        # Most often there is one worker, and adding up a thousand nodes takes its time.
        return words[0] if len(words) == 1 else _sum(tuple(words))


def _left(stats: WorkerStats) -> WorkerStats:
    """Return what is left of a worker that has ended: counters, and nothing that it held."""
    pools = {
        name: replace(
            pool,
            nodes={name: replace(node, in_flight=0, idle=0) for name, node in pool.nodes.items()},
            waiting=0,
        )
        for name, pool in stats.pools.items()
    }
    return replace(stats, pools=pools, connections={}, certificates={}, files=(), processes={})


def _known(stats: WorkerStats, words: list[WorkerStats]) -> WorkerStats:
    """Return counters without those of pools and nodes that no worker has."""
    pools: dict[str, PoolStats] = {}
    for name, pool in stats.pools.items():
        homes = [word.pools[name] for word in words if name in word.pools]
        if homes:
            nodes = {
                node: counters
                for node, counters in pool.nodes.items()
                if any(node in home.nodes for home in homes)
            }
            pools[name] = replace(pool, nodes=nodes)
    return replace(stats, pools=pools)


def _sum(words: tuple[WorkerStats, ...]) -> WorkerStats:
    first = words[0]
    certificates: dict[str, float] = {}
    for word in words:
        for subject, end in word.certificates.items():
            certificates[subject] = min(end, certificates.get(subject, end))
    return WorkerStats(
        pools={
            name: _sum_pools([word.pools[name] for word in words if name in word.pools])
            for name in dict.fromkeys(name for word in words for name in word.pools)
        },
        connections=_sum_maps(word.connections for word in words),
        accepted=_sum_maps(word.accepted for word in words),
        rejected=_sum_maps(word.rejected for word in words),
        certificates=certificates,
        files=next((word.files for word in words if word.files), first.files),
        handshakes=_sum_maps(word.handshakes for word in words),
        delays=_sum_lists(word.delays for word in words),
        delay_sum=sum(word.delay_sum for word in words),
        processes={name: each for word in words for name, each in word.processes.items()},
    )


def _sum_pools(pools: list[PoolStats]) -> PoolStats:
    return PoolStats(
        nodes={
            name: _sum_nodes([pool.nodes[name] for pool in pools if name in pool.nodes])
            for name in dict.fromkeys(name for pool in pools for name in pool.nodes)
        },
        durations=_sum_lists(pool.durations for pool in pools),
        duration_sum=sum(pool.duration_sum for pool in pools),
        retries=sum(pool.retries for pool in pools),
        sticky=_sum_maps(pool.sticky for pool in pools),
        unserved=_sum_lists(pool.unserved for pool in pools),
        unserved_statuses=_sum_lists(pool.unserved_statuses for pool in pools),
        bytes_in=sum(pool.bytes_in for pool in pools),
        bytes_out=sum(pool.bytes_out for pool in pools),
        waiting=sum(pool.waiting for pool in pools),
        waited=_sum_maps(pool.waited for pool in pools),
    )


def _sum_nodes(nodes: list[NodeStats]) -> NodeStats:
    return NodeStats(
        codes=_sum_lists(node.codes for node in nodes),
        failures=_sum_maps(node.failures for node in nodes),
        in_flight=sum(node.in_flight for node in nodes),
        idle=sum(node.idle for node in nodes),
        statuses=_sum_lists(node.statuses for node in nodes),
        heads=_sum_lists(node.heads for node in nodes),
        head_sum=sum(node.head_sum for node in nodes),
        limit=max(node.limit for node in nodes),
    )


def _sum_maps(maps: Iterable[Mapping[K, N]]) -> dict[K, N]:
    total: dict[K, N] = {}
    for each in maps:
        for key, count in each.items():
            total[key] = total[key] + count if key in total else count
    return total


def _sum_lists(lists: Iterable[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*lists, strict=True)]
