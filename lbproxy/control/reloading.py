"""What came of reading the configuration again, as the admin API and metrics tell it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from lbproxy import __version__

# What is told of one reload, in bytes of its lines: it crosses between processes in one piece.
_MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """What came of one reload.

    Args: changes: in words, of a plan if it was only asked for; problems: why nothing changed, none
    if it worked; at: Unix seconds.
    """

    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    at: float = field(default_factory=time.time)

    @property
    def worked(self) -> bool:
        """True if the configuration holds now, or would."""
        return not self.problems

    def shortened(self) -> ReloadOutcome:
        """Return it with no more lines than can be told at once; the last one says how many more
        there are."""
        return replace(self, changes=_first(self.changes), problems=_first(self.problems))


@dataclass(frozen=True, slots=True)
class UpgradeOutcome:
    """What came of one upgrade.

    Args: before, after: the versions; after is "" if it is not known; problems: why the one before
    goes on, none if it worked; at: Unix seconds.
    """

    before: str
    after: str = ""
    problems: tuple[str, ...] = ()
    at: float = field(default_factory=time.time)

    @property
    def worked(self) -> bool:
        """True if the other version serves now."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class History:
    """What became of configuration and program since the start.

    Args: started: Unix seconds; generation: how many configurations have held, this one included;
    last: the last reload, None if there was none; workers: how many processes serve, 0 if all is
    one; upgrade: the last one, None if there was none.
    """

    started: float = field(default_factory=time.time)
    generation: int = 1
    last: ReloadOutcome | None = None
    workers: int = 0
    upgrade: UpgradeOutcome | None = None

    @property
    def remark(self) -> str:
        """What is said behind "serving" to whoever looks at the process; "" if all is well."""
        if self.last is None or self.last.worked:
            return ""
        return "; the last reload failed: the configuration before it holds"

    def after(self, outcome: ReloadOutcome) -> History:
        """Return what it is after one reload more."""
        generation = self.generation + (1 if outcome.worked and outcome.changes else 0)
        return replace(self, generation=generation, last=outcome)


def _first(lines: tuple[str, ...]) -> tuple[str, ...]:
    left = _MOST_BYTES
    for count, line in enumerate(lines):
        left -= 6 * len(line) if not line.isascii() else len(line) + 32
        if left < 0:
            return (*lines[:count], f"and {len(lines) - count} more")
    return lines


# Reads the configuration again. Args: whether only the plan is wanted.
Reload = Callable[[bool], Awaitable[ReloadOutcome]]


async def cannot_reload(dry_run: bool) -> ReloadOutcome:
    """Reload nothing: there is no file."""
    return ReloadOutcome(problems=("there is no configuration file to read again",))


ALL_IN_ONE = (
    "all is one process, which cannot be replaced while it serves: set workers to auto, or 2"
)

# Replaces the program. Args: the path of the other one, "" for what is there now where this one was
# started from.
Upgrade = Callable[[str], Awaitable[UpgradeOutcome]]


async def cannot_upgrade(program: str) -> UpgradeOutcome:
    """Replace nothing: who serves clients would have to end."""
    return UpgradeOutcome(__version__, problems=(ALL_IN_ONE,))
