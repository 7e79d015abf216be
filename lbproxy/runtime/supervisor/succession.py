"""Takes over from the version before: its control stands aside, and its workers drain when those
of this version serve."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from lbproxy import __version__
from lbproxy.control.reloading import UpgradeOutcome
from lbproxy.runtime.inheritance import Inherited
from lbproxy.runtime.orders import Drain, EndLast, UpgradeAnswer
from lbproxy.runtime.sockets import Sockets, close_unused
from lbproxy.runtime.spreading import spread_over
from lbproxy.runtime.supervisor.children import Children
from lbproxy.upgrade.taking_over import taking_over

_log = logging.getLogger("lbproxy.process")
# How long the control of before may take to stand aside.
PATIENCE_S = 5.0
# What is left of the version before, beyond its time to drain, is killed.
GRACE_S = 10.0


class Succession:
    """Between two versions; does nothing if there was none before.

    Attributes: patience: until when the control of before may stand aside; parting: when what is
    left of the version before is killed; monotonic seconds, or None.
    """

    def __init__(self, children: Children, inherited: Inherited | None) -> None:
        self._children = children
        self._inherited = inherited
        self._then: Callable[[], None] | None = None
        self.patience: float | None = None
        self.parting: float | None = None

    def begin(self, then: Callable[[], None]) -> None:
        """Have the control of before stand aside; `then` is called when it has, or does not."""
        self._then = then
        controls = [
            child for child in self._children.former() if not child.is_worker and not child.leaving
        ]
        if controls:
            self.patience = monotonic() + PATIENCE_S
            self._children.succeed(controls[0], self._begun)
        else:
            self._begun()

    def look(self, now: float) -> None:
        """Do what is due, but for `parting`."""
        if self.patience is not None and self.patience <= now:
            _log.warning("control of before does not stand aside: what it knows may be lost")
            self._begun()

    def served(self, sockets: Sockets) -> UpgradeOutcome | None:
        """This version serves: let go of the one before. Return what has come of the upgrade, None
        if there was none. Args: sockets: of this version."""
        inherited, self._inherited = self._inherited, None
        if inherited is None:
            return None
        left = inherited.left
        state = taking_over()
        if state is not None:
            state.done = True
        outcome = UpgradeOutcome(left.version, __version__)
        _log.info("upgraded from %s to %s", left.version, __version__)
        self.parting = monotonic() + left.drain_s + GRACE_S
        for child in self._children.former():
            if left.asker is not None and child.number == left.asker.child:
                self._children.tell(child, UpgradeAnswer(left.asker.number, outcome))
            if not child.leaving:
                child.leaving = True
                order = Drain(taken_over=True) if child.is_worker else EndLast()
                self._children.tell(child, order)
        spread_over(sockets)  # perhaps there are fewer workers now
        close_unused(inherited.sockets, sockets)
        return outcome

    def _begun(self) -> None:
        self.patience = None
        then, self._then = self._then, None
        if then is not None:
            then()
