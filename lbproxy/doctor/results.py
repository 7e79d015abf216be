"""Results of checks. A cause is reported once, with every place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum


class Level(Enum):
    """How much it matters: a finding makes the exit code 1, a hint does not."""

    FINDING = "finding"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One fault: a finding, or a hint. Every text is one line and holds no secret.

    Args: evidence: the first place that shows it; places: all of them, if there are several; key:
    diagnoses of several checks with the same key have one cause, empty for a cause of its own.
    """

    check: str
    what: str
    evidence: str
    cause: str
    remedy: str
    level: Level = Level.FINDING
    places: tuple[str, ...] = ()
    key: str = ""

    @property
    def everywhere(self) -> tuple[str, ...]:
        """Every place, even if there is only one."""
        return self.places or (self.evidence,)

    def also_at(self, places: Iterable[str]) -> Diagnosis:
        """Return it with more places."""
        every = tuple(dict.fromkeys((*self.everywhere, *places)))
        return replace(self, places=every if len(every) > 1 else ())


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check: its findings, or why it could not be made.

    Args: see: an earlier check that has reported the cause of this one's findings.
    """

    check: str
    findings: tuple[Diagnosis, ...] = ()
    skipped: str | None = None
    see: str | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """Every check of one origin.

    Args: origin: the one that was examined in the end, as text; hints: settings of the provider;
    addresses: of the origin, if they do not come from DNS.
    """

    origin: str
    profile: str
    outcomes: tuple[CheckResult, ...] = ()
    hints: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Diagnosis, ...]:
        """Every finding and hint, in the order of the checks."""
        return tuple(finding for outcome in self.outcomes for finding in outcome.findings)

    @property
    def healthy(self) -> bool:
        """True if there are hints at most."""
        return all(finding.level is Level.HINT for finding in self.findings)


def joined(findings: Iterable[Diagnosis]) -> tuple[Diagnosis, ...]:
    """Return findings of one check, each cause once."""
    found: dict[object, Diagnosis] = {}
    for number, finding in enumerate(findings):
        key = finding.key or number
        known = found.get(key)
        found[key] = finding if known is None else known.also_at(finding.everywhere)
    return tuple(found.values())


def one_cause_once(outcomes: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    """Return the results with each cause reported once: by the first check that met it, with the
    places of later checks."""
    result: list[CheckResult] = []
    homes: dict[str, int] = {}  # key -> index of the result that reports it
    for outcome in outcomes:
        own: list[Diagnosis] = []
        see: str | None = None
        for finding in joined(outcome.findings):
            home = homes.get(finding.key)
            if home is None:
                own.append(finding)
                if finding.key:
                    homes[finding.key] = len(result)
                continue
            told = result[home]
            see = see or told.check
            result[home] = replace(
                told,
                findings=tuple(
                    each.also_at(finding.everywhere) if each.key == finding.key else each
                    for each in told.findings
                ),
            )
        result.append(replace(outcome, findings=tuple(own), see=see))
    return tuple(result)
