"""File descriptors: as many as the connections that the limits allow."""

from __future__ import annotations

import resource

from lbproxy.config.schema import Config

# Beside connections: listeners, log, admin API, probes, libraries.
SPARE = 256


def needed(config: Config) -> int:
    """Return how many descriptors one process can need: each client may be at a node, and every
    pool keeps idle connections beside. Nodes that are discovered or join are not known yet."""
    idle = sum(pool.keepalive.per_node * len(pool.nodes) for pool in config.pools.values())
    return 2 * config.limits.connections + idle + SPARE


def raise_descriptor_limit(config: Config) -> str | None:
    """Raise the soft limit of this process to what is needed, or as far as it goes.

    Returns: a warning if that is less, else None.
    """
    wanted = needed(config)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == wanted:
        return None
    return (
        f"limits.connections of {config.limits.connections} and keepalive.per_node of the pools "
        f"may need {wanted} file descriptors in a process, the system allows {soft}; raise "
        "LimitNOFILE or `ulimit -n`, or lower the limits"
    )
