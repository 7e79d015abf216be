"""How many retries are affordable: a share of the requests, so that they never become a storm."""

from __future__ import annotations

# Counted in millionths of a retry: sums of a ratio such as 0.1 stay exact.
_RETRY = 1_000_000


class RetryBudget:
    """Every request pays in `ratio` of a retry, every retry takes out a whole one.

    It needs no clock: retries are paid for by the requests before.
    """

    def __init__(self, ratio: float, reserve: int = 10, cap: int = 1000) -> None:
        """Open the budget.

        Args: ratio: retries a request, 0..1; 0 allows none at all; reserve: retries that may be
        made before any request has paid in; cap: the most retries that can be saved up.
        """
        self._paid: int = round(ratio * _RETRY)
        self._cap: int = cap * _RETRY
        self._saved: int = min(reserve, cap) * _RETRY if self._paid > 0 else 0

    def deposit(self) -> None:
        """Pay in for one request; not for its retries."""
        self._saved = min(self._cap, self._saved + self._paid)

    def withdraw(self) -> bool:
        """Take out one retry; False, and nothing is taken, if there is none left."""
        if self._saved < _RETRY:
            return False
        self._saved -= _RETRY
        return True
