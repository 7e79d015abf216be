"""Medians, ratios and aims: from what was measured to what it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median


class Quantity(Enum):
    """What a measurement is of; the value is its key in the data."""

    CPU_US = "cpu_us_per_request"
    RATE = "requests_per_second"
    P50_MS = "p50_ms"
    P99_MS = "p99_ms"
    MIB_S = "mib_per_second"
    GROWTH_MIB = "memory_growth_mib"
    CONNECTION_KIB = "kib_per_connection"
    BUSIEST_SHARE = "busiest_worker_percent"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One repeat of one scenario with one contestant."""

    scenario: str
    contestant: str
    quantity: Quantity
    value: float


@dataclass(frozen=True, slots=True)
class Aim:
    """What lbproxy is to reach: its figure is at most (or at least) `factor` x that of `of`.

    `of` None makes it an absolute figure in the quantity's unit.
    """

    scenario: str
    quantity: Quantity
    factor: float
    of: str | None
    at_least: bool = False
    contestant: str = "lbproxy"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An aim beside what came out."""

    aim: Aim
    reached: float
    held: bool


class Figures:
    """Medians over repeats, by scenario, contestant and quantity, in the order of measuring."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        values: dict[tuple[str, str, Quantity], list[float]] = defaultdict(list)
        for each in measurements:
            values[each.scenario, each.contestant, each.quantity].append(each.value)
        self._values = dict(values)

    def scenarios(self) -> list[str]:
        return list(dict.fromkeys(scenario for scenario, _, _ in self._values))

    def contestants(self, scenario: str) -> list[str]:
        return list(dict.fromkeys(who for what, who, _ in self._values if what == scenario))

    def quantities(self, scenario: str) -> list[Quantity]:
        found = {quantity for what, _, quantity in self._values if what == scenario}
        return [each for each in Quantity if each in found]

    def values(self, scenario: str, contestant: str, quantity: Quantity) -> Sequence[float]:
        """All repeats; empty where it was not measured."""
        return tuple(self._values.get((scenario, contestant, quantity), ()))

    def median(self, scenario: str, contestant: str, quantity: Quantity) -> float | None:
        """The median of the repeats; None where it was not measured."""
        values = self.values(scenario, contestant, quantity)
        return median(values) if values else None

    def ratio(self, scenario: str, contestant: str, quantity: Quantity, to: str) -> float | None:
        """The contestant's figure in terms of another's: the median of the ratios of each repeat.

        A repeat measures all of them within a minute or so; over a whole scenario a shared machine
        gets faster and slower by more than what tells two proxies apart. None without either, or
        against zero.
        """
        mine = self.values(scenario, contestant, quantity)
        others = self.values(scenario, to, quantity)
        if not mine or not others or not all(others):
            return None
        return median(one / other for one, other in zip(mine, others, strict=True))

    def judge(self, aims: Iterable[Aim]) -> list[Verdict]:
        """The aims that this run can tell of, and what came out."""
        verdicts = []
        for aim in aims:
            if aim.of is None:
                reached = self.median(aim.scenario, aim.contestant, aim.quantity)
            else:
                reached = self.ratio(aim.scenario, aim.contestant, aim.quantity, aim.of)
            if reached is not None:
                held = reached >= aim.factor if aim.at_least else reached <= aim.factor
                verdicts.append(Verdict(aim, reached, held))
        return verdicts
