"""Nodes go out of use and come back: by probes, by failures of traffic, and all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.cluster.node import Admin, Health
from lbproxy.control import plane
from lbproxy.control.health import probes
from lbproxy.proxy.transport.pipe import reset_on_close

if TYPE_CHECKING:
    from tests.integration.conftest import Door, Message, Node, NodePeer, Stage

ROUTE = {"sticky": {"by": ["route"], "cookie": "S"}}
TO_NODE1 = "Cookie: S=x.node1\r\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the control plane look at everything more often than an operator needs."""
    monkeypatch.setattr(plane, "TICK_S", 0.02)
    monkeypatch.setattr(probes, "MIN_PAUSE_S", 0.01)


@dataclass
class Status:
    """What a node says of itself: `code` at the health path, until it is switched."""

    code: int = 200
    body: bytes = b"ok"
    probes: int = 0
    answered: int = 0
    paths: list[bytes] = field(default_factory=list)

    def script(self, name: str) -> Callable[[NodePeer], Coroutine[Any, Any, None]]:
        async def serve(peer: NodePeer) -> None:
            while True:
                request = await peer.read_message()
                path = request.first.split()[1]
                if path.startswith(b"/health"):
                    self.probes += 1
                    await peer.answer(self.body, f"{self.code} X")
                else:
                    self.answered += 1
                    await peer.answer(name.encode())

        return serve


def probing(**keys: Any) -> dict[str, Any]:
    return {
        "health": {
            "path": "/health",
            "interval": "50ms",
            "timeout": "500ms",
            "rise": 2,
            "fall": 3,
        }
        | keys
    }


async def watched(stage: Stage, count: int = 2) -> tuple[list[Node], list[Status]]:
    statuses = [Status() for _ in range(count)]
    nodes = [
        await stage.node(status.script(f"node{number}"), name=f"node{number}")
        for number, status in enumerate(statuses, 1)
    ]
    return nodes, statuses


def health(door: Door, name: str) -> Health:
    found: Health = door.node(name).health
    return found


def out_of_use(door: Door, name: str) -> bool:
    return not door.link(name).takes_owned


async def test_probes_take_a_node_out_and_bring_it_back(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lbproxy.cluster")
    nodes, statuses = await watched(stage)
    door = await stage.door(nodes, pool=ROUTE | probing())
    await door.until(lambda: all(health(door, node.name) is Health.UP for node in nodes))
    assert (await door.get(fields=TO_NODE1)).body == b"node1"

    statuses[0].code = 503
    await door.until(lambda: out_of_use(door, "node1"))
    for _ in range(4):
        assert (await door.get(fields=TO_NODE1)).body == b"node2"
    assert "node node1: health up -> down: HTTP 503" in caplog.text
    assert "(3 probes in a row)" in caplog.text
    assert door.stats.pools["idp"].sticky["route", "failover"] == 4

    statuses[0].code = 200
    await door.until(lambda: not out_of_use(door, "node1"))
    assert (await door.get(fields=TO_NODE1)).body == b"node1"
    assert "node node1: health down -> up" in caplog.text


async def test_fewer_bad_answers_than_fall_change_nothing(stage: Stage) -> None:
    nodes, statuses = await watched(stage, 1)
    door = await stage.door(nodes, pool=probing(fall=1000))
    await door.until(lambda: health(door, "node1") is Health.UP)
    statuses[0].code = 503
    before = statuses[0].probes
    await door.until(lambda: statuses[0].probes >= before + 10)
    assert health(door, "node1") is Health.UP


async def test_a_good_status_with_the_wrong_body_is_no_health(stage: Stage) -> None:
    nodes, statuses = await watched(stage)
    statuses[0].body = b'{"status":"DOWN"}'
    statuses[1].body = b'{"status":"UP"}'
    door = await stage.door(nodes, pool=probing(body='"UP"'))
    await door.until(lambda: health(door, "node1") is Health.DOWN)
    assert health(door, "node2") is Health.UP


async def test_a_degraded_node_is_used_only_where_no_other_is_better(stage: Stage) -> None:
    nodes, statuses = await watched(stage)
    statuses[0].code = 429
    door = await stage.door(nodes, pool=probing(soft="429"))
    await door.until(
        lambda: (health(door, "node1"), health(door, "node2")) == (Health.DEGRADED, Health.UP)
    )
    for _ in range(4):
        assert (await door.get()).body == b"node2"
    statuses[1].code = 503
    await door.until(lambda: out_of_use(door, "node2"))
    for _ in range(4):
        assert (await door.get()).body == b"node1"


async def test_a_silent_node_is_down(stage: Stage) -> None:
    async def silent(peer: NodePeer) -> None:
        await peer.read_rest()

    node = await stage.node(silent)
    door = await stage.door([node], pool=probing(timeout="50ms"))
    await door.until(lambda: health(door, "node1") is Health.DOWN)


async def test_where_all_nodes_are_down_they_are_tried_all_the_same(stage: Stage) -> None:
    """All failing in one way is likely the database, or the probe: a 503 by us is certain."""
    nodes, statuses = await watched(stage)
    for status in statuses:
        status.code = 500
    door = await stage.door(nodes, pool=probing())
    await door.until(lambda: all(health(door, node.name) is Health.DOWN for node in nodes))
    assert {(await door.get()).body for _ in range(4)} == {b"node1", b"node2"}
    statuses[0].code = 200
    await door.until(lambda: health(door, "node1") is Health.UP)
    await door.until(lambda: out_of_use(door, "node2"))
    assert {(await door.get()).body for _ in range(4)} == {b"node1"}


async def test_below_the_panic_threshold_the_few_are_not_left_alone(stage: Stage) -> None:
    nodes, statuses = await watched(stage, 3)
    statuses[0].code = statuses[1].code = 500
    door = await stage.door(nodes, pool=probing() | {"panic_threshold": 0.4})
    await door.until(
        lambda: [health(door, node.name) for node in nodes] == [Health.DOWN, Health.DOWN, Health.UP]
    )
    assert {(await door.get()).body for _ in range(6)} == {b"node1", b"node2", b"node3"}


async def test_a_stopped_node_is_not_tried_even_in_panic(stage: Stage) -> None:
    nodes, statuses = await watched(stage)
    for status in statuses:
        status.code = 500
    door = await stage.door(nodes, pool=probing())
    await door.until(lambda: all(health(door, node.name) is Health.DOWN for node in nodes))
    door.command("node1", Admin.STOPPED)
    await door.until(lambda: out_of_use(door, "node1"))
    assert {(await door.get()).body for _ in range(4)} == {b"node2"}


async def test_probes_do_not_count_as_traffic(stage: Stage) -> None:
    nodes, statuses = await watched(stage, 1)
    door = await stage.door(nodes, pool=probing())
    await door.until(lambda: statuses[0].probes >= 5)
    assert door.stats.pools["idp"].nodes["node1"].codes == [0] * 6
    assert door.log_text() == ""


async def test_slow_start_spares_a_node_that_has_come_up(stage: Stage) -> None:
    nodes, statuses = await watched(stage)
    statuses[0].code = 503
    door = await stage.door(nodes, pool=probing() | {"slow_start": "60s"})
    await door.until(
        lambda: (health(door, "node1"), health(door, "node2")) == (Health.DOWN, Health.UP)
    )
    # The other one is in its first minute as well: let it be older.
    door.link("node2").up_since -= 3600
    statuses[0].code = 200
    await door.until(lambda: health(door, "node1") is Health.UP)
    door.link("node2").up_since -= 3600  # a snapshot has set it anew
    for _ in range(60):
        await door.get()
    assert 1 <= statuses[0].answered <= 15  # of 60; its full share is 30


# Passive ejection.


async def flaky(stage: Stage) -> tuple[list[Node], list[bool]]:
    """Return two nodes; the first one dies at each request while the flag is set."""
    dying = [True]

    async def script(peer: NodePeer) -> None:
        while True:
            await peer.read_message()
            if dying[0]:
                return
            await peer.answer(b"node1")

    return [await stage.node(script), await stage.node(name="node2")], dying


async def test_failures_in_a_row_eject_a_node_for_a_growing_time(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lbproxy.cluster")
    nodes, dying = await flaky(stage)
    pool = ROUTE | {"ejection": {"failures": 3, "base": "200ms"}}
    door = await stage.door(nodes, pool=pool)
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        assert (await door.get(fields=TO_NODE1, source=source)).body == b"node2"
    await door.until(lambda: out_of_use(door, "node1"))
    assert "node1: ejection in use -> ejected: upstream_reset (3 in a row); out for 0.2 s" in (
        caplog.text
    )
    asked = len(nodes[0].connections)
    assert (await door.get(fields=TO_NODE1)).body == b"node2"
    assert len(nodes[0].connections) == asked

    await door.until(lambda: not out_of_use(door, "node1"))
    assert (await door.get(fields=TO_NODE1)).body == b"node2"  # one more failure is enough now
    await door.until(lambda: out_of_use(door, "node1"))
    assert "out for 0.4 s" in caplog.text

    await door.until(lambda: not out_of_use(door, "node1"))
    dying[0] = False
    assert (await door.get(fields=TO_NODE1)).body == b"node1"
    dying[0] = True
    assert (await door.get(fields=TO_NODE1)).body == b"node2"
    await asyncio.sleep(0.1)
    assert not out_of_use(door, "node1")  # a success: they are no longer in a row


async def test_of_two_nodes_only_one_is_ever_ejected(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()

    nodes = [await stage.node(script, name=name) for name in ("node1", "node2")]
    pool = ROUTE | {"ejection": {"failures": 1, "base": "60s"}, "retry": False}
    door = await stage.door(nodes, pool=pool)
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        for name in ("node1", "node2"):
            await door.get(fields=f"Cookie: S=x.{name}\r\n", source=source)
    await asyncio.sleep(0.1)
    assert [out_of_use(door, node.name) for node in nodes].count(True) == 1


async def test_one_client_alone_takes_no_node_out(stage: Stage) -> None:
    """What only its requests meet may be their doing; a second client's failure is proof."""
    nodes, _ = await flaky(stage)
    door = await stage.door(nodes, pool=ROUTE | {"ejection": {"failures": 2, "base": "60s"}})
    for _ in range(10):
        assert (await door.get(fields=TO_NODE1)).body == b"node2"
    assert door.stats.pools["idp"].nodes["node1"].failures == {"upstream_reset": 10}
    assert not out_of_use(door, "node1")
    assert (await door.get(fields=TO_NODE1, source="127.0.0.2")).body == b"node2"
    await door.until(lambda: out_of_use(door, "node1"))


async def test_answers_that_are_none_take_a_node_out(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")

    nodes = [await stage.node(script), await stage.node(name="node2")]
    door = await stage.door(nodes, pool=ROUTE | {"ejection": {"failures": 2, "base": "60s"}})
    for source in ("127.0.0.1", "127.0.0.2"):
        assert (await door.get(fields=TO_NODE1, source=source)).status == 502
    await door.until(lambda: out_of_use(door, "node1"))
    assert (await door.get(fields=TO_NODE1)).body == b"node2"


async def test_a_refused_connection_is_nobodys_doing(stage: Stage) -> None:
    nodes, _ = await flaky(stage)
    await nodes[0].stop()
    door = await stage.door(nodes, pool=ROUTE | {"ejection": {"failures": 2, "base": "60s"}})
    for _ in range(2):
        assert (await door.get(fields=TO_NODE1)).body == b"node2"
    await door.until(lambda: out_of_use(door, "node1"))


@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
async def test_a_client_that_keeps_its_body_takes_no_node_out(
    stage: Stage, framing: str, expect: str
) -> None:
    """Neither by holding it back for a 100 that no node sends, nor by sending half of it."""

    async def waits(peer: NodePeer) -> None:
        await peer.read_head()
        await peer.read_rest()

    node = await stage.node(waits)
    timeouts = {"response": "50ms", "body_idle": "50ms"}
    pool = {"ejection": {"failures": 1, "base": "60s", "max_fraction": 1.0}}
    door = await stage.door([node], pool=pool, timeouts=timeouts)
    statuses = []
    for source in ("127.0.0.1", "127.0.0.2"):
        peer = await door.connect(source=source)
        await peer.send(f"POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n{expect}\r\n".encode())
        statuses.append((await peer.read_message()).status)
    assert statuses == ([504, 504] if expect else [408, 408])
    assert not out_of_use(door, "node1")


async def test_a_node_that_always_cuts_its_answers_short_is_ejected(stage: Stage) -> None:
    """The head of an answer is no success: only the whole of it ends the count."""

    async def cuts(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    nodes = [await stage.node(cuts), await stage.node(name="node2")]
    door = await stage.door(nodes, pool=ROUTE | {"ejection": {"failures": 3, "base": "60s"}})
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        peer = await door.connect(source=source)
        await peer.send(f"GET / HTTP/1.1\r\nHost: a\r\n{TO_NODE1}\r\n".encode())
        assert (await peer.read_rest()).endswith(b"half")
    await door.until(lambda: out_of_use(door, "node1"))


async def test_without_ejection_failures_change_nothing(stage: Stage) -> None:
    nodes, _ = await flaky(stage)
    door = await stage.door(nodes, pool=ROUTE | {"ejection": False})
    for _ in range(10):
        await door.get(fields=TO_NODE1)
    await asyncio.sleep(0.1)
    assert not out_of_use(door, "node1")


@pytest.mark.parametrize("status", ["500 X", "503 X", "404 X"])
async def test_an_answer_of_any_status_is_no_failure(stage: Stage, status: str) -> None:
    async def script(peer: NodePeer) -> None:
        while True:
            await peer.read_message()
            await peer.answer(status=status)

    nodes = [await stage.node(script), await stage.node(name="node2")]
    pool = ROUTE | {"ejection": {"failures": 1, "base": "60s"}}
    door = await stage.door(nodes, pool=pool)
    for _ in range(3):
        assert (await door.get(fields=TO_NODE1)).first == f"HTTP/1.1 {status}".encode()
    assert door.stats.pools["idp"].nodes["node1"].failures == {}


async def test_a_client_that_leaves_is_not_the_nodes_fault(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_rest()

    node = await stage.node(script)
    door = await stage.door([node], pool={"ejection": {"failures": 1, "base": "60s"}})
    for _ in range(3):
        peer = await door.connect()
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        await door.until(lambda: door.link("node1").in_flight == 1)
        peer.close()
        await door.until(lambda: not door.worker.clients)
    assert door.stats.pools["idp"].nodes["node1"].failures == {}


async def test_a_client_that_gives_up_says_how_slow_the_node_is(stage: Stage) -> None:
    """Else a node that hangs keeps the latency of its good days, which even fades."""
    heard: list[Message] = []

    async def script(peer: NodePeer) -> None:
        heard.append(await peer.read_head())
        await peer.read_rest()

    door = await stage.door([await stage.node(script)], pool={"balance": "peak_ewma"})
    link = door.link("node1")

    async def give_up(request: bytes) -> None:
        peer, count = await door.connect(), len(heard)
        await peer.send(request)
        await door.until(lambda: len(heard) > count)
        reset_on_close(peer.writer.get_extra_info("socket").fileno())
        peer.writer.transport.abort()
        await door.until(lambda: not door.worker.clients)

    await give_up(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
    assert link.ewma == 0.0  # the node waited for the client
    await give_up(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert link.ewma > 0.0
    link.observe(monotonic(), 9.0)
    await give_up(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert link.ewma == 9.0  # less than what was expected anyway


# Idle connections to a node.


async def test_idle_node_connections_are_closed_before_the_node_would(stage: Stage) -> None:
    ends: list[bytes] = []

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.answer()
        ends.append(await peer.reader.read())  # an orderly end: a reset would raise

    node = await stage.node(script)
    door = await stage.door([node], pool={"keepalive": {"idle": "200ms"}})
    assert (await door.get()).status == 200
    assert len(door.link("node1").idle) == 1
    await door.until(lambda: ends == [b""])
    assert door.link("node1").idle == []
    assert (await door.get()).status == 200
    assert len(node.connections) == 2


@pytest.mark.parametrize("per_node", [0, 3])
async def test_no_more_than_per_node_connections_are_kept(stage: Stage, per_node: int) -> None:
    together = asyncio.Barrier(8)

    async def script(peer: NodePeer) -> None:
        while True:
            await peer.read_message()
            await together.wait()
            await peer.answer()

    node = await stage.node(script)
    door = await stage.door([node], pool={"keepalive": {"per_node": per_node}})
    for _ in range(2):
        responses = await asyncio.gather(*(door.get() for _ in range(8)))
        assert {response.status for response in responses} == {200}
        assert len(door.link("node1").idle) == per_node
    assert len(node.connections) == 8 + 8 - per_node


async def test_a_connection_is_used_again(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node])
    for _ in range(5):
        await door.get()
    assert len(node.connections) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    ],
)
async def test_a_connection_that_is_not_to_be_used_again_is_not(
    stage: Stage, answer: bytes
) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(answer)
        assert await peer.read_rest() == b""  # lbproxy ends it

    node = await stage.node(script)
    door = await stage.door([node])
    for number in range(3):
        assert (await door.get()).body == b"ok"
        assert door.link("node1").idle == []
        assert len(node.connections) == number + 1


async def test_bytes_that_come_unasked_end_an_idle_connection(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node])
    assert (await door.get()).body == b"node1"
    await node.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    await door.until(lambda: door.link("node1").idle == [])
    assert (await door.get()).body == b"node1"
    assert len(node.connections) == 2
