"""The rules of one configuration: what an exchange goes by, from its beginning to its end."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.proxy.rules import Rules
from tests.proxy.scripted import NOW, Scene, node

TIMES: dict[str, Any] = {
    "timeouts": {
        "tls_handshake": 1.0,
        "client_head": 2.0,
        "client_idle": 3.0,
        "body_idle": 4.0,
        "write_idle": 5.0,
        "tunnel_idle": 6.0,
    }
}
LIMITS: dict[str, Any] = {
    "limits": {
        "connections": 7,
        "per_client": 3,
        "requests_per_connection": 5,
        "response_head": 4096,
        "body": 99,
    }
}


@pytest.mark.parametrize("sections", [TIMES | LIMITS])
def test_each_setting_has_its_rule(scene: Scene) -> None:
    rules = scene.desk.rules
    assert (rules.handshake_timeout, rules.head_timeout, rules.idle_timeout) == (1.0, 2.0, 3.0)
    assert (rules.body_timeout, rules.write_timeout, rules.tunnel_timeout) == (4.0, 5.0, 6.0)
    assert (rules.max_connections, rules.max_per_client) == (7, 3)
    assert rules.requests_per_connection == 5
    assert (rules.response_head_limit, rules.body_limit) == (4096, 99)


@pytest.mark.parametrize(
    ("sections", "limit"), [({"limits": {"body": False}}, -1), ({"limits": {"body": 0}}, 0)]
)
def test_no_limit_is_not_a_limit_of_nothing(scene: Scene, limit: int) -> None:
    assert scene.desk.rules.body_limit == limit


@pytest.mark.parametrize(
    ("sections", "passes"),
    [({}, False), ({"forwarding": {"trailers": "pass"}}, True)],
)
def test_trailers_pass_if_the_operator_says_so(scene: Scene, passes: bool) -> None:
    assert (scene.desk.rules.trailer_drops is not None) is passes


async def test_an_exchange_keeps_the_rules_that_it_began_with(scene: Scene) -> None:
    """A configuration that is read again is one assignment, and concerns those who come later."""
    scene.apply(node())
    scene.idle()
    exchange, client = scene.talk()
    before = scene.desk.rules
    config = before.config.model_copy(
        update={"timeouts": before.config.timeouts.model_copy(update={"write_idle": 1.0})}
    )
    scene.desk.rules = Rules(config, before.routing)
    exchange.go()
    client.write_paused = True
    exchange.slow()
    assert (exchange.rules, exchange.deadline) == (before, NOW + before.write_timeout)
    later, later_client = scene.talk()
    later_client.write_paused = True
    later.slow()
    assert later.deadline == NOW + 1.0
    exchange.gone()
    later.gone()
