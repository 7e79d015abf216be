"""When a connection is given up whose node's machine is gone, as its pool waits for the node."""

from __future__ import annotations

from lbproxy.config.schema import PoolTcpSettings
from lbproxy.tcp import TcpOptions

# Of the wait for a response: silence after which the kernel asks, and then asks again.
_ASKED_AFTER = 1 / 2
_ASKED_EVERY = 1 / 3


def options_for(settings: PoolTcpSettings, connect_s: float, response_s: float) -> TcpOptions:
    """Return the options of a node's connections.

    Nothing that the pool's waits allow is cut off earlier: a node that does not take what it is
    sent looks to the kernel like one that is gone.

    Args: connect_s, response_s: how long the pool waits for the node.
    """
    user_timeout_s = settings.user_timeout
    if user_timeout_s is None:
        user_timeout_s = connect_s + response_s
    idle_s = settings.keepalive_idle
    if idle_s is None:
        idle_s = response_s * _ASKED_AFTER
    interval_s = settings.keepalive_interval
    if interval_s is None:
        interval_s = float(idle_s) * _ASKED_EVERY
    return TcpOptions(float(user_timeout_s), float(idle_s), interval_s, settings.keepalive_count)
