"""When a connection is given up whose node's machine is gone: as its pool waits for the node."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.config.schema import PoolTcpSettings
from lbproxy.proxy.nodes.machine import options_for
from lbproxy.tcp import TcpOptions


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, TcpOptions(63.0, 30.0, 10.0, 3)),
        ({"user_timeout": "5s"}, TcpOptions(5.0, 30.0, 10.0, 3)),
        ({"user_timeout": False}, TcpOptions(0.0, 30.0, 10.0, 3)),
        ({"keepalive_idle": "6s"}, TcpOptions(63.0, 6.0, 2.0, 3)),
        ({"keepalive_idle": "6s", "keepalive_interval": "1s"}, TcpOptions(63.0, 6.0, 1.0, 3)),
        ({"keepalive_idle": False, "keepalive_count": 9}, TcpOptions(63.0, 0.0, 0.0, 9)),
    ],
)
def test_what_is_not_said_follows_from_the_waits(settings: Any, options: TcpOptions) -> None:
    assert options_for(PoolTcpSettings.model_validate(settings), 3.0, 60.0) == options


def test_no_node_is_given_up_earlier_than_its_pool_would() -> None:
    """One that takes nothing of an upload for a while looks to the kernel as if it were gone."""
    assert options_for(PoolTcpSettings(), 3.0, 60.0).user_timeout_s > 60.0
