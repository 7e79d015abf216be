"""What metrics tell of the control plane itself: its counts, limits and settings."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from lbproxy.cluster.candidates import candidates
from lbproxy.cluster.health import EJECTED, Aspect
from lbproxy.cluster.registry import Changes
from lbproxy.cluster.roster import ABSENT
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.schema import Config
from lbproxy.control.admin.metrics import ControlStats
from lbproxy.control.admin.settings_facts import authorities, hash_of
from lbproxy.control.reloading import History


class ControlFacts:
    """Counts what changes.

    Args: snapshot: the present one, and history: what became of the configuration, both looked at
    when somebody asks.
    """

    def __init__(
        self,
        config: Config,
        snapshot: Callable[[], Snapshot],
        history: Callable[[], History] = History,
    ) -> None:
        self._history = history
        self._config = config
        self._snapshot = snapshot
        self._ejections: Counter[tuple[str, str]] = Counter()
        self._loaded_at = time.time()
        self._config_hash = hash_of(config)
        self._authorities = authorities(config)

    def kept(self) -> object:
        """Return what the next control takes over."""
        return self._ejections, self._config_hash, self._loaded_at

    def take_over(self, kept: object) -> None:
        """Go on from what another one's `kept` returned: another configuration was loaded now."""
        assert isinstance(kept, tuple)
        self._ejections, config_hash, loaded_at = kept
        if config_hash == self._config_hash:
            self._loaded_at = loaded_at

    def note(self, changes: Changes) -> None:
        """Count changes; what was counted of a node that is gone is forgotten."""
        for change in changes:
            if (change.what, change.after) == (Aspect.EJECTION, EJECTED):
                self._ejections[change.pool, change.node] += 1
            elif (change.what, change.after) == (Aspect.MEMBERSHIP, ABSENT):
                self._ejections.pop((change.pool, change.node), None)

    def stats(self) -> ControlStats:
        """Return what is so now."""
        pools = self._config.pools
        last = self._history().last
        return ControlStats(
            reload_worked=last is None or last.worked,
            ejections=dict(self._ejections),
            panics={
                name: candidates(pool, pools[name].panic_threshold).panic
                for name, pool in self._snapshot().pools.items()
            },
            max_connections=self._config.limits.connections,
            max_per_client=self._config.limits.per_client,
            config_hash=self._config_hash,
            loaded_at=self._loaded_at,
            authorities=self._authorities,
        )
