"""Has control's knowledge kept, soon after it changed."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from time import perf_counter

from lbproxy.control.kept import KeptControl
from lbproxy.runtime.kept_memory import KeptMemory

# Changes with the shape of anything that is kept, or that control and workers say to each other:
# what a version has left can be read only by one that has the same shapes.
FORMAT = 1
# With a thousand nodes it takes 30 ms. What takes longer than a moment is done at most for this
# share of the time.
_MOMENT_S = 0.003
_SHARE = 0.1


class Keeper:
    """Writes what `kept` returns into memory. Args: kept: of the control plane."""

    def __init__(self, memory: KeptMemory, kept: Callable[[], KeptControl]) -> None:
        self._memory = memory
        self._kept = kept
        self._next = 0.0  # as the loop counts
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> None:
        """Somebody is told what may be lost otherwise: keep it at once."""
        self.stop()
        self._keep()

    def soon(self) -> None:
        """Something changed: keep it now, or as soon as it is this one's turn again."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next:
                self._keep()
            else:
                self._timer = loop.call_at(self._next, self._keep)

    def stop(self) -> None:
        """Keep nothing more; may be called again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def keep(self, kept: KeptControl) -> None:
        """Keep this."""
        self._memory.write(pickle.dumps(kept, pickle.HIGHEST_PROTOCOL))

    def _keep(self) -> None:
        self._timer = None
        began = perf_counter()
        self.keep(self._kept())
        cost = perf_counter() - began
        pause_s = cost / _SHARE if cost > _MOMENT_S else 0.0
        self._next = asyncio.get_running_loop().time() + pause_s


def read_kept(memory: KeptMemory) -> KeptControl | None:
    """Return what a control that died has kept, None for nothing."""
    data = memory.read()
    if data is None:
        return None
    kept = pickle.loads(data)
    assert isinstance(kept, KeptControl)
    return kept
