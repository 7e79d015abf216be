"""Counters are asked for, and what was heard last can be read without asking."""

from __future__ import annotations

from lbproxy.cluster.stats import WorkerStats
from lbproxy.control.workers import Counters


class Two:
    """Two workers; `silent` ones do not answer in time."""

    def __init__(self) -> None:
        self.accepted = {1: 10, 2: 20}
        self.silent: set[int] = set()
        self.asked = 0

    def living(self) -> frozenset[int]:
        return frozenset(self.accepted)

    async def counters(self) -> dict[int, WorkerStats]:
        self.asked += 1
        return {
            number: WorkerStats(accepted={"http": count})
            for number, count in self.accepted.items()
            if number not in self.silent
        }

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        return 0


async def test_to_read_what_was_heard_last_asks_nobody() -> None:
    workers = Two()
    counters = Counters(workers)
    assert counters.last() == WorkerStats()
    assert (await counters.now()).accepted == {"http": 30}
    workers.accepted[1] = 11
    assert counters.last().accepted == {"http": 30}
    assert workers.asked == 1
    assert (await counters.now()).accepted == {"http": 31}


async def test_the_last_word_of_a_silent_worker_holds() -> None:
    workers = Two()
    counters = Counters(workers)
    await counters.now()
    workers.silent = {1}
    workers.accepted[2] = 25
    assert (await counters.now()).accepted == {"http": 35}


async def test_what_a_worker_counted_stays_when_it_has_ended() -> None:
    workers = Two()
    counters = Counters(workers)
    await counters.now()
    del workers.accepted[1]
    workers.accepted[3] = 1  # its successor
    assert (await counters.now()).accepted == {"http": 31}
