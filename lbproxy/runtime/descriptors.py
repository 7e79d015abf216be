"""File descriptors: as many as the connections that the limits allow."""

from __future__ import annotations

import logging
import resource

# Beside connections: listeners, log, admin API, probes, libraries.
SPARE = 256

_log = logging.getLogger("lbproxy.process")


def needed(connections: int) -> int:
    """Return how many descriptors so many clients can take: each may hold a node connection."""
    return 2 * connections + SPARE


def raise_descriptor_limit(connections: int) -> None:
    """Raise the soft limit to what is needed, or as far as it goes, and warn if that is less."""
    wanted = needed(connections)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            _log.warning(
                "limits.connections of %d may need %d file descriptors, the system allows %d; "
                "raise LimitNOFILE or `ulimit -n`, or lower the limit",
                connections,
                wanted,
                soft,
            )
