"""What the supervisor and its children say to each other, with descriptors if need be.

Supervisor and child may be of two versions, for as long as the workers of the older one drain:
their words are plain data (`order_channel`), and a word that one of them does not know is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lbproxy.control.reloading import History, ReloadOutcome, UpgradeOutcome


@dataclass(frozen=True, slots=True)
class Attach:
    """To both ends: here is your stream to the other one, as a descriptor.

    Args: worker: its number, of which there is never another one.
    """

    worker: int


@dataclass(frozen=True, slots=True)
class Lend:
    """To a worker: accept on the sockets of the worker at this place, too."""

    place: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """To a worker: accept no more on the sockets of the worker at this place."""

    place: int


@dataclass(frozen=True, slots=True)
class ShutDown:
    """To control: say at /readyz that no traffic should come any more."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: accept no more, let exchanges end within `timeouts.drain`, and end.

    Args: taken_over: others accept at the same addresses.
    """

    taken_over: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """To a child: end at once."""


@dataclass(frozen=True, slots=True)
class ReopenLog:
    """To a worker: open the access log again."""


@dataclass(frozen=True, slots=True)
class Follow:
    """To a child: follow another configuration, which comes as `following.pack` makes it."""

    number: int


@dataclass(frozen=True, slots=True)
class Know:
    """To control: what became of the configuration since the start."""

    history: History


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """To control: what came of a reload that it asked for. Args: number: of the question."""

    number: int
    outcome: ReloadOutcome


@dataclass(frozen=True, slots=True)
class StandAside:
    """To control: another version is about to take over. Keep what is known, let nobody in any
    more; go on to watch the nodes for the workers there are. The stream that comes with it leads to
    who takes over."""


@dataclass(frozen=True, slots=True)
class ComeBack:
    """To control: the other version could not begin; it is your job again."""


@dataclass(frozen=True, slots=True)
class EndLast:
    """To control: another version has taken over: end behind the last worker."""


@dataclass(frozen=True, slots=True)
class UpgradeAnswer:
    """To control: what came of an upgrade that it asked for. Args: number: of the question."""

    number: int
    outcome: UpgradeOutcome


@dataclass(frozen=True, slots=True)
class AreYouThere:
    """To a child: answer, to show that the event loop turns. Args: number: of the question."""

    number: int


Order: TypeAlias = (
    Attach
    | Lend
    | GiveBack
    | ShutDown
    | Drain
    | Stop
    | ReopenLog
    | Follow
    | Know
    | ReloadAnswer
    | StandAside
    | ComeBack
    | EndLast
    | UpgradeAnswer
    | AreYouThere
)


@dataclass(frozen=True, slots=True)
class Ready:
    """From a child: it serves."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """From a worker: it was told by somebody else to end, and accepts no more."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From a child: it cannot begin. Args: why: says what to do."""

    why: str


@dataclass(frozen=True, slots=True)
class Declined:
    """From a child: it cannot do what an order says. Args: why: says what to do."""

    order: Order
    why: str


@dataclass(frozen=True, slots=True)
class AskReload:
    """From control: somebody wants the configuration read again.

    Args: number: of the question; dry_run: only the plan is wanted.
    """

    number: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class AskUpgrade:
    """From control: somebody wants the program replaced.

    Args: number: of the question; program: the path of the other one, "" for what is there now
    where this one was started from.
    """

    number: int
    program: str


@dataclass(frozen=True, slots=True)
class Done:
    """From a child: it has done what an order says."""

    order: Order


@dataclass(frozen=True, slots=True)
class Here:
    """From a child: the answer to `AreYouThere`."""

    number: int


Word: TypeAlias = Ready | Leaving | Failed | Declined | AskReload | AskUpgrade | Done | Here
