"""The garbage collector of a process that serves clients."""

from __future__ import annotations

import gc

# New objects more than were freed, before the collector looks at them. Connections and exchanges
# leave no cycles, so it would find nothing, and look at all that are open each time: by Python's
# own 700 with every dozen TLS connections. Ten thousand are a few MiB.
_NEW_OBJECTS = 10_000


def quiet_collector() -> None:
    """Let the collector forget what lives now, which lives to the end, and come seldom from now
    on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
