"""Warnings that come again and again: each subject has a line once in a while."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

# Subjects that are remembered; the one that was silent for longest is forgotten first.
MAX_SUBJECTS = 1000


class Notices:
    """Repeats a line only once in a while.

    Args: log: the logger; every_s: seconds between two lines of one subject.
    """

    def __init__(self, log: logging.Logger, every_s: float) -> None:
        self._log = log
        self._every_s = every_s
        self._said: OrderedDict[str, float] = OrderedDict()
        self._silent: dict[str, int] = {}

    def warn(self, subject: str, now: float, text: str | Callable[[], str]) -> None:
        """Log a warning, or count it if the subject had one not long ago.

        Args: subject: what the lines are counted by; now: monotonic seconds; text: the line, with
        nothing in it that a terminal would obey, or a function that makes it, if that costs.
        """
        said = self._said.get(subject)
        if said is not None and now - said < self._every_s:
            self._silent[subject] = self._silent.get(subject, 0) + 1
            return
        self._said[subject] = now
        self._said.move_to_end(subject)
        if len(self._said) > MAX_SUBJECTS:
            oldest, _ = self._said.popitem(last=False)
            self._silent.pop(oldest, None)
        more = self._silent.pop(subject, 0)
        line = text if isinstance(text, str) else text()
        self._log.warning("%s%s", line, f" ({more} more like it before)" if more else "")
