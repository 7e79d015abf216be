"""Whether this program is taking over from another one: one fact of a process."""

from __future__ import annotations

from dataclasses import dataclass

from lbproxy.upgrade.handover import Handover


@dataclass(slots=True)
class TakingOver:
    """This program takes over. Args: handover: what was left; done: it serves; why: it cannot."""

    handover: Handover
    done: bool = False
    why: str = ""


_now: TakingOver | None = None


def begin(handover: Handover) -> TakingOver:
    """This process is executed in the place of another one."""
    global _now
    _now = TakingOver(handover)
    return _now


def taking_over() -> TakingOver | None:
    """Return how far it is, None if there is nobody to take over from, or that is done."""
    return None if _now is None or _now.done else _now


def cannot(why: str) -> None:
    """Say why this program cannot begin, if it is taking over."""
    if _now is not None:
        _now.why = why
