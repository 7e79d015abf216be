"""Did the owner answer? What the Locust users count, and what lbproxy's own metrics say."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field

_SAMPLE = re.compile(r"^lbproxy_sticky_total\{([^}]*)\}\s+([0-9.eE+]+)$", re.MULTILINE)
_RESULT = re.compile(r'result="([^"]*)"')


@dataclass(slots=True)
class Tally:
    """Counts of one run.

    `owner`: requests of a session that its owner answered; `others`: those that somebody else
    answered, as "step: owner -> who"; `by_node`: logins that each node owned; `failed`: logins
    that did not come to their end.
    """

    logins: int = 0
    failed: int = 0
    owner: int = 0
    others: list[str] = field(default_factory=list)
    by_node: dict[str, int] = field(default_factory=dict)

    def answered(self, step: str, owner: str, node: str) -> bool:
        """Count an answer of `node` to a step of a login that `owner` owns; True if it is his."""
        if node == owner:
            self.owner += 1
            return True
        self.others.append(f"{step}: {owner} -> {node}")
        return False

    def finished(self, owner: str) -> None:
        """Count a login that came to its end."""
        self.logins += 1
        self.by_node[owner] = self.by_node.get(owner, 0) + 1

    def as_data(self) -> dict[str, object]:
        return asdict(self)


def sticky_results(metrics: str) -> dict[str, int]:
    """Sum lbproxy_sticky_total over everything but its result. Args: the text of /metrics."""
    sums: Counter[str] = Counter()
    for labels, value in _SAMPLE.findall(metrics):
        if found := _RESULT.search(labels):
            sums[found[1]] += int(float(value))
    return dict(sums)


def judge(tally: Tally, sticky: dict[str, int]) -> list[str]:
    """Return every reason why affinity did not hold; none where it did.

    Args:
        sticky: what `sticky_results` read after the run; all nodes lived through it.
    """
    reasons = []
    if not tally.logins:
        reasons.append("not one login came to its end")
    if tally.failed:
        reasons.append(f"{tally.failed} logins did not come to their end")
    if tally.others:
        shown = ", ".join(tally.others[:5])
        reasons.append(f"{len(tally.others)} requests were answered by another node: {shown}")
    if tally.logins and len(tally.by_node) < 2:
        reasons.append("one node owned all logins, so nothing was shown")
    if sticky.get("owner", 0) < tally.owner:
        reasons.append(
            f"lbproxy counted {sticky.get('owner', 0)} requests as the owner's,"
            f" the users {tally.owner}"
        )
    for result in ("failover", "unknown_route"):
        if sticky.get(result):
            reasons.append(f"lbproxy counted {sticky[result]} requests as {result}")
    return reasons
