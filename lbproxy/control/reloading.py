"""What came of reading the configuration again, as the admin API and metrics tell it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


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


@dataclass(frozen=True, slots=True)
class History:
    """What became of the configuration since the start.

    Args: started: Unix seconds; generation: how many configurations have held, this one included;
    last: the last reload, None if there was none; workers: how many processes serve, 0 if all is
    one.
    """

    started: float = field(default_factory=time.time)
    generation: int = 1
    last: ReloadOutcome | None = None
    workers: int = 0

    @property
    def remark(self) -> str:
        """What is said behind "serving" to whoever looks at the process; "" if all is well."""
        if self.last is None or self.last.worked:
            return ""
        return "; the last reload failed: the configuration before it holds"

    def after(self, outcome: ReloadOutcome) -> History:
        """Return what it is after one reload more."""
        generation = self.generation + (1 if outcome.worked and outcome.changes else 0)
        return History(self.started, generation, outcome, self.workers)


# Reads the configuration again. Args: whether only the plan is wanted.
Reload = Callable[[bool], Awaitable[ReloadOutcome]]


async def cannot_reload(dry_run: bool) -> ReloadOutcome:
    """Reload nothing: there is no file."""
    return ReloadOutcome(problems=("there is no configuration file to read again",))
