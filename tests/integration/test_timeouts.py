"""Every wait on a peer ends, and only the peer that is waited for is cut off."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Door, NodePeer, Peer, Stage

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SHORT = "200ms"
# What must not be cut off meets a limit that a stall of this process does not reach, and goes on
# for longer than it, in steps.
LIMIT, STEP_S, STEPS = "1s", 0.1, 12


def reasons(door: Door) -> list[str | None]:
    return [line["reason"] for line in door.log_lines()]


def bound(peer: Peer, number: int, size: int) -> None:
    """Bound a kernel buffer of a connection, so that a peer that stands still is soon felt."""
    bound_transport(peer.writer.transport, number, size)


def bound_transport(transport: asyncio.BaseTransport, number: int, size: int) -> None:
    descriptor = transport.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, number, size)


def write_buffer(door: Door) -> int:
    """Return how many bytes wait for the one client there is."""
    (client,) = door.worker.clients
    return 0 if client.transport is None else client.transport.get_write_buffer_size()


# The node.


@pytest.mark.parametrize("where", ["timeouts", "pool"])
async def test_a_node_that_does_not_answer_is_504_and_its_connection_ends(
    stage: Stage, where: str
) -> None:
    ended = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        assert await peer.read_rest() == b""
        ended.set()

    node = await stage.node(script)
    node2 = await stage.node(name="node2")
    sticky = {"sticky": {"by": ["route"], "cookie": "S"}}
    short = {"timeouts": {"response": SHORT}}
    if where == "pool":
        door = await stage.door([node, node2], pool=sticky | short)
    else:
        door = await stage.door([node, node2], pool=sticky, timeouts=short["timeouts"])
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: S=x.node1\r\n\r\n")
    assert (await peer.read_message()).status == 504
    await asyncio.wait_for(ended.wait(), 5)
    assert node2.requests == []  # the client has waited enough
    assert door.stats.pools["idp"].nodes["node1"].failures == {"upstream_timeout": 1}
    # The client did nothing wrong: its connection goes on.
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: S=x.node2\r\n\r\n")
    assert (await peer.read_message()).status == 200


async def test_a_node_that_stops_in_the_middle_is_never_taken_for_complete(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await peer.read_rest()

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"response": SHORT})
    peer = await door.connect()
    await peer.send(GET)
    text = await peer.read_rest()
    assert text.endswith(b"4\r\nhalf\r\n")
    assert reasons(door) == ["upstream_stalled"]


async def test_a_node_may_take_its_time_as_long_as_bytes_come(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % STEPS)
        for _ in range(STEPS):
            await asyncio.sleep(STEP_S)
            await peer.send(b"x")

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"response": LIMIT})
    assert (await door.get()).body == b"x" * STEPS


async def test_a_slow_node_has_the_response_timeout_also_after_a_large_body(stage: Stage) -> None:
    """The wait for the body ends where the body does, however long the node takes to read it."""
    body = os.urandom(200_000)

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        bound(peer, socket.SO_RCVBUF, 8192)
        await peer.answer()
        await peer.read_head()
        await peer.reader.readexactly(len(body))
        await asyncio.sleep(0.6)
        await peer.answer()

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"body_idle": "300ms", "response": "5s"})
    peer = await door.connect()
    await peer.send(GET)
    assert (await peer.read_message()).status == 200
    (upstream,) = door.link("node1").idle
    bound_transport(upstream.transport, socket.SO_SNDBUF, 8192)
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert (await peer.read_message()).status == 200


@pytest.fixture
def unanswered() -> Iterator[int]:
    """The port of a socket whose queue is full: a connection to it hangs in the handshake."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        crowd = [socket.socket() for _ in range(3)]
        for sock in crowd:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        yield port
        for sock in crowd:
            sock.close()


async def test_a_node_that_takes_no_connections_is_given_up(stage: Stage, unanswered: int) -> None:
    node1, node2 = await stage.node(), await stage.node(name="node2")
    node1.port = unanswered
    sticky = {"sticky": {"by": ["route"], "cookie": "S"}}
    door = await stage.door([node1, node2], pool=sticky, timeouts={"connect": SHORT})
    peer = await door.connect()
    await peer.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nCookie: S=x.node1\r\nContent-Length: 4\r\n\r\ncode"
    )
    assert (await peer.read_message()).body == b"code"
    assert [request.body for request in node2.requests] == [b"code"]
    assert door.stats.pools["idp"].nodes["node1"].failures == {"connect_timeout": 1}


async def test_where_the_only_node_takes_no_connections_the_client_hears_503(
    stage: Stage, unanswered: int
) -> None:
    node = await stage.node()
    node.port = unanswered
    door = await stage.door([node], timeouts={"connect": SHORT})
    response = await door.get()
    assert response.status == 503
    assert response.get("retry-after") is not None


# The client's requests.


@pytest.mark.parametrize("line", [b"a", b"A: b\r\n"])
async def test_a_head_that_dribbles_in_is_408(stage: Stage, line: bytes) -> None:
    node = await stage.node()
    door = await stage.door([node], timeouts={"client_head": SHORT})
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    began = asyncio.get_running_loop().time()

    async def dribble() -> None:
        while True:
            await asyncio.sleep(0.02)
            await peer.send(line)

    task = asyncio.ensure_future(dribble())
    response = await peer.read_message()
    task.cancel()
    assert response.status == 408
    assert response.get("connection") == b"close"
    assert asyncio.get_running_loop().time() - began < 5
    assert node.requests == []
    assert reasons(door) == ["head_timeout"]


async def test_the_head_of_a_later_request_has_its_limit_too(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], timeouts={"client_head": SHORT})
    peer = await door.connect()
    await peer.send(GET)
    assert (await peer.read_message()).status == 200
    await peer.send(b"GET / HTTP/1.1\r\n")
    assert (await peer.read_message()).status == 408
    assert await peer.read_rest() == b""


async def test_no_line_of_a_later_head_renews_its_limit(stage: Stage) -> None:
    door = await stage.door([await stage.node()], timeouts={"client_head": "20s"})
    peer = await door.connect()
    await peer.send(GET)
    assert (await peer.read_message()).status == 200
    (client,) = door.worker.clients
    await peer.send(b"GET / HT")
    await door.until(lambda: client.partial is not None)
    deadline, ticked = client.deadline, door.worker.now
    await door.until(lambda: door.worker.now > ticked)
    for line in (b"TP/1.1\r\n", b"A: b\r\n", b"Host: a\r\n"):
        before = client.partial.whole()
        await peer.send(line)
        await door.until(lambda before=before: client.partial.whole() != before)  # type: ignore[misc]
        assert client.deadline == deadline
    await peer.send(b"\r\n")
    assert (await peer.read_message()).status == 200


@pytest.mark.parametrize("sent", [b"", GET])
async def test_an_idle_connection_is_closed_without_a_word(stage: Stage, sent: bytes) -> None:
    node = await stage.node()
    door = await stage.door([node], timeouts={"client_head": SHORT, "client_idle": SHORT})
    peer = await door.connect()
    if sent:
        await peer.send(sent)
        await peer.read_message()
    assert await peer.read_rest() == b""
    assert len(door.log_lines()) == (1 if sent else 0)


async def test_a_body_that_does_not_come_is_408(stage: Stage) -> None:
    ended = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        await peer.read_head()
        assert await peer.read_rest() == b"half"
        ended.set()

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"body_idle": SHORT})
    peer = await door.connect()
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
    response = await peer.read_message()
    assert response.status == 408
    assert response.get("connection") == b"close"
    assert await peer.read_rest() == b""
    await asyncio.wait_for(ended.wait(), 5)
    assert door.stats.pools["idp"].nodes["node1"].failures == {}  # not the node's fault


async def test_once_a_slow_node_has_caught_up_the_body_is_the_clients_again(stage: Stage) -> None:
    """Its limit is that of bodies, not the one of answers, also where no byte comes any more."""
    slow = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        bound(peer, socket.SO_RCVBUF, 8192)
        await peer.answer()
        await peer.read_head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await slow.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.read_rest()

    door = await stage.door(
        [await stage.node(script)], timeouts={"body_idle": "1s", "response": "60s"}
    )
    peer = await door.connect()
    await peer.send(GET)
    assert (await peer.read_message()).status == 200
    (upstream,) = door.link("node1").idle
    bound_transport(upstream.transport, socket.SO_SNDBUF, 8192)
    (client,) = door.worker.clients
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n")
    sent = 0

    def read() -> bool:
        return client.exchange is not None and client.exchange.bytes_in == sent

    while not client.blocked:
        await peer.send(b"x" * 4096)
        sent += 4096
        await door.until(read)
    slow.set()
    assert (await peer.read_message()).status == 408
    assert reasons(door)[-1] == "body_timeout"


async def test_a_body_may_take_its_time_as_long_as_bytes_come(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], timeouts={"body_idle": LIMIT})
    peer = await door.connect()
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % STEPS)
    for _ in range(STEPS):
        await asyncio.sleep(STEP_S)
        await peer.send(b"x")
    assert (await peer.read_message()).body == b"x" * STEPS


# The client's reading.


async def pours(peer: NodePeer) -> None:
    """Answer with more than any buffer holds."""
    await peer.read_message()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    while True:
        await peer.send(b"x" * 65536)


async def test_a_client_that_does_not_read_is_cut_off_while_others_are_served(
    stage: Stage,
) -> None:
    node1, node2 = await stage.node(pours), await stage.node(name="node2")
    sticky = {"sticky": {"by": ["route"], "cookie": "S"}}
    door = await stage.door([node1, node2], pool=sticky, timeouts={"write_idle": "300ms"})
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: S=x.node1\r\n\r\n")
    await door.until(lambda: bool(door.worker.clients))
    while not reasons(door).count("client_slow"):
        assert (await door.get(fields="Cookie: S=x.node2\r\n")).status == 200
        await asyncio.sleep(0.01)
    await door.until(lambda: door.link("node1").in_flight == 0)
    assert len(await peer.read_rest()) < 1 << 28


async def test_a_client_that_reads_slowly_is_not_cut_off(stage: Stage) -> None:
    size = 8 << 20

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.answer(b"x" * size)

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"write_idle": LIMIT})
    peer = await door.connect()
    bound(peer, socket.SO_RCVBUF, 65536)
    await peer.send(GET)
    head = await peer.read_head()
    assert head.status == 200
    read = 0
    while read < size:
        await asyncio.sleep(0.04)
        read += len(await peer.reader.read(262144))
    assert read == size


async def test_an_answer_that_is_never_read_to_its_end_does_not_hold_its_connection(
    stage: Stage,
) -> None:
    """The exchange is complete, its last bytes wait in our buffer, and the client stands still."""
    node = await stage.node()
    door = await stage.door([node], timeouts={"client_idle": SHORT, "write_idle": SHORT})
    peer = await door.connect()
    bound(peer, socket.SO_RCVBUF, 4096)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (client,) = door.worker.clients
    body = b"x" * 60_000
    while write_buffer(door) == 0:
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + body)
        await door.until(lambda: client.requests == len(node.requests) and not client.exchange)
    await door.until(lambda: not door.worker.clients)


# Tunnels.


async def test_a_tunnel_without_traffic_is_closed(stage: Stage) -> None:
    ended = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        for _ in range(STEPS):
            assert await peer.read_some() == b"ping"
            await peer.send(b"pong")
        assert await peer.read_rest() == b""
        ended.set()

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"tunnel_idle": LIMIT})
    peer = await door.connect()
    await peer.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert (await peer.read_head()).status == 101
    for _ in range(STEPS):
        await asyncio.sleep(STEP_S)
        await peer.send(b"ping")
        assert await peer.read_some() == b"pong"
    assert await peer.read_rest() == b""
    await asyncio.wait_for(ended.wait(), 5)
    assert reasons(door) == ["tunnel_idle"]


# The tick.


async def test_a_fault_in_one_turn_of_the_tick_does_not_end_all_timeouts(stage: Stage) -> None:
    class Faulty:
        deadline = 0.0
        faults = 0

        def expire(self) -> None:
            self.faults += 1
            door.worker.handshakes.discard(self)
            raise RuntimeError("a bug")

    node = await stage.node()
    door = await stage.door([node], timeouts={"client_head": SHORT})
    faulty = Faulty()
    door.worker.handshakes.add(faulty)
    await door.until(lambda: faulty.faults == 1)
    peer = await door.connect()
    assert await peer.read_rest() == b""
