"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much it matters: a finding makes the exit code 1, a hint does not."""

    FINDING = "finding"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. Every text is one line and holds no secret."""

    check: str
    what: str
    evidence: str
    cause: str
    remedy: str
    level: Level = Level.FINDING


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check: its findings, or why it could not be done."""

    check: str
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Every check of one origin.

    Args: origin: what was examined in the end, as text; hints: what to set at the provider.
    """

    origin: str
    profile: str
    outcomes: tuple[Outcome, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding and hint, in the order of the checks."""
        return tuple(finding for outcome in self.outcomes for finding in outcome.findings)

    @property
    def healthy(self) -> bool:
        """True where there are hints at most."""
        return all(finding.level is Level.HINT for finding in self.findings)
