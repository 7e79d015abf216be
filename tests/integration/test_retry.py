"""How often a request is tried again: attempts a request, and a budget for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Node, NodePeer, Stage

NO_EJECTION = {"ejection": False}


async def dying_nodes(stage: Stage, count: int) -> list[Node]:
    """Return nodes that take a request and die."""

    async def script(peer: NodePeer) -> None:
        await peer.read_message()

    return [await stage.node(script, name=f"node{number + 1}") for number in range(count)]


def tries(nodes: list[Node]) -> int:
    return sum(len(node.connections) for node in nodes)


@pytest.mark.parametrize(
    ("retry", "expected"),
    [({"attempts": 0}, 1), ({"attempts": 1}, 2), ({"attempts": 3}, 4), (False, 1)],
)
async def test_one_request_is_tried_as_often_as_configured(
    stage: Stage, retry: Any, expected: int
) -> None:
    nodes = await dying_nodes(stage, 5)
    door = await stage.door(nodes, pool=NO_EJECTION | {"retry": retry})
    assert (await door.get()).status == 502
    assert tries(nodes) == expected
    assert door.stats.pools["idp"].retries == expected - 1


async def test_no_node_is_tried_twice_for_one_request(stage: Stage) -> None:
    nodes = await dying_nodes(stage, 3)
    door = await stage.door(nodes, pool=NO_EJECTION | {"retry": {"attempts": 5}})
    assert (await door.get()).status == 502
    assert [len(node.connections) for node in nodes] == [1, 1, 1]


async def test_the_last_of_several_attempts_may_succeed(stage: Stage) -> None:
    nodes = await dying_nodes(stage, 3)
    nodes.append(await stage.node(name="good"))
    door = await stage.door(nodes, pool=NO_EJECTION | {"retry": {"attempts": 3, "budget": 1.0}})
    for _ in range(4):  # whoever's turn it is
        assert (await door.get()).body == b"good"


async def test_a_spent_budget_ends_retries_until_requests_pay_in_again(stage: Stage) -> None:
    nodes = await dying_nodes(stage, 2)
    door = await stage.door(nodes, pool=NO_EJECTION | {"retry": {"attempts": 1, "budget": 0.2}})
    requests = 40
    for _ in range(requests):
        assert (await door.get()).status == 502
    reserve = 10
    assert door.stats.pools["idp"].retries == reserve + requests * 0.2
    assert tries(nodes) == requests + reserve + requests * 0.2


async def test_the_log_says_how_often_a_request_was_tried_again(stage: Stage) -> None:
    nodes = await dying_nodes(stage, 3)
    door = await stage.door(nodes, pool=NO_EJECTION | {"retry": {"attempts": 2}})
    await door.get()
    await door.get(method="POST", fields="Content-Length: 0\r\n")
    assert [line["retries"] for line in door.log_lines()] == [2, 0]
