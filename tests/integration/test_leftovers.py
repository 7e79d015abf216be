"""Whatever goes wrong with an exchange, it is counted once and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from lbproxy.cluster.node import Admin
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.errors import Failure
from lbproxy.proxy.transport.pipe import reset_on_close
from tests.fuzz.ajp13_peer import END_REUSE, send_body, send_headers
from tests.hosting import host
from tests.integration.ajp_node import AjpPeer

if TYPE_CHECKING:
    from tests.integration.conftest import Door, Node, NodePeer, Peer, Stage

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf"
EXPECTING_POST = HALF_POST[:-6] + b"Expect: 100-continue\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

Script = Callable[["NodePeer"], Awaitable[None]]


def answers(*pieces: bytes, wait: bool = False) -> Script:
    """Return a node that sends this after the head of a request. Args: wait: for the other end."""

    async def script(peer: NodePeer) -> None:
        await peer.read_head()
        for piece in pieces:
            await peer.send(piece)
            await asyncio.sleep(0.01)  # each comes on its own
        if wait:
            await peer.read_rest()

    return script


async def silent(peer: NodePeer) -> None:
    await peer.read_rest()


async def speaks_no_tls(peer: NodePeer) -> None:
    await peer.read_some()
    await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def over_ajp(*packets: bytes, data: bool = False, wait: bool = True) -> Script:
    """Return a node that reads a request over AJP and sends this. Args: data: first reads one
    packet of its body; wait: for the other end."""

    async def script(peer: NodePeer) -> None:
        ajp = AjpPeer(peer)
        await ajp.request()
        if data:
            await ajp.data()
        await ajp.send(*packets)
        if packets and wait:
            await peer.read_rest()

    return script


async def pours(peer: NodePeer) -> None:
    await peer.read_head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    while True:
        await peer.send(b"x" * 65536)


async def goes_stale(peer: NodePeer) -> None:
    await peer.read_message()
    await peer.answer()
    await peer.read_message()


Act = Callable[["Stage", "Door", list["Node"]], Awaitable[None]]


def sends(data: bytes, *, until_end: bool = True) -> Act:
    """Return a client that sends this. Args: until_end: reads on; False: leaves as soon as the
    request is at the node."""

    async def act(stage: Stage, door: Door, nodes: list[Node]) -> None:
        peer = await door.connect()
        await peer.send(data)
        if until_end:
            await ended(door, peer)
        else:
            await door.until(lambda: bool(nodes[0].connections))
            await asyncio.sleep(0.05)
            reset(peer)

    return act


def reset(peer: Peer) -> None:
    """Leave for good: an end of file alone could mean that the client still reads."""
    reset_on_close(peer.writer.get_extra_info("socket").fileno())
    peer.writer.transport.abort()


async def ended(door: Door, peer: Peer) -> None:
    """Read until the exchange has its line in the log, however it ends."""

    async def read() -> None:
        while await peer.read_some():
            pass

    reading = asyncio.ensure_future(read())
    await door.until(lambda: bool(door.log_text()))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    peer.close()


async def crowd(stage: Stage, door: Door, nodes: list[Node]) -> None:
    first = await door.connect()
    await door.until(lambda: len(door.worker.clients) == 1)
    await ended(door, await door.connect())
    first.close()


async def all_stopped(stage: Stage, door: Door, nodes: list[Node]) -> None:
    door.command("node1", Admin.STOPPED)
    await door.until(lambda: not door.link("node1").takes_owned)
    await sends(GET)(stage, door, nodes)


async def elsewhere(stage: Stage, door: Door, nodes: list[Node]) -> None:
    door.say("node1", virtual_hosts=(host("/auth"),))
    await sends(GET)(stage, door, nodes)


async def twice(stage: Stage, door: Door, nodes: list[Node]) -> None:
    peer = await door.connect()
    await peer.send(GET)
    await peer.read_message()
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert (await peer.read_message()).status == 502
    peer.close()


async def reads_nothing(stage: Stage, door: Door, nodes: list[Node]) -> None:
    peer = await door.connect()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await peer.send(GET)
    await door.until(lambda: bool(door.log_text()))
    peer.close()


async def upgrades(stage: Stage, door: Door, nodes: list[Node]) -> None:
    peer = await door.connect()
    await peer.send(UPGRADE)
    assert (await peer.read_head()).status == 101
    await ended(door, peer)


async def without_descriptors(stage: Stage, door: Door, nodes: list[Node]) -> None:
    peer = await door.connect()
    await door.until(lambda: len(door.worker.clients) == 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        await peer.send(GET)
        await peer.read_message()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    peer.close()


@dataclass
class Case:
    """One way to fail. Args: status: what the log says; keys: of `Stage.door`."""

    reason: str
    status: int
    act: Act
    script: Script | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    node_gone: bool = False
    port: int = 0

    def __str__(self) -> str:
        return self.reason


SHORT = "150ms"


def limits(**keys: Any) -> dict[str, Any]:
    return {"limits": keys}


def timeouts(**keys: Any) -> dict[str, Any]:
    return {"timeouts": keys}


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
AJP = {"scheme": "ajp"}
AJP_HALF = send_headers(200, [(3, b"8")]) + send_body(b"half")
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"

CASES = [
    Case("bad_request", 400, sends(b"GET /\r\n\r\n")),
    Case("bad_body", 400, sends(CHUNKED_POST + b"x\r\n")),
    Case("bad_body", 400, sends(CHUNKED_POST + b"1\r\nab"), silent),
    Case(
        "doubtful_path",
        400,
        sends(b"GET /x/%2e%2e/a HTTP/1.1\r\nHost: a\r\n\r\n"),
        keys={"routes": [{"path": "/a", "pool": "idp"}]},
    ),
    Case("head_timeout", 408, sends(b"GET / HTTP/1.1\r\n"), keys=timeouts(client_head=SHORT)),
    Case("body_timeout", 408, sends(HALF_POST), silent, timeouts(body_idle=SHORT)),
    Case("body_too_large", 413, sends(HALF_POST), keys=limits(body=4)),
    Case("body_too_large", 413, sends(CHUNKED_POST + b"5\r\nabcde\r\n"), keys=limits(body=4)),
    Case(
        "request_line_too_long", 414, sends(b"GET /" + b"a" * 2000), keys=limits(request_line=1000)
    ),
    Case("expectation", 417, sends(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n")),
    Case("head_too_large", 431, sends(GET[:-2] + b"A: " + b"a" * 2000), keys=limits(head=1000)),
    Case("too_many_fields", 431, sends(GET[:-2] + b"A: b\r\n" * 9), keys=limits(fields=8)),
    Case("not_implemented", 501, sends(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")),
    Case("version_not_supported", 505, sends(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n")),
    Case("no_route", 404, sends(GET), keys={"routes": [{"path": "/a", "pool": "idp"}]}),
    Case("hidden_path", 404, sends(GET), keys={"pool": {"hide": ["/"]}}),
    Case("no_context", 404, elsewhere),
    Case("too_many_connections", 429, crowd, keys=limits(per_client=1)),
    Case("connections_exhausted", 503, crowd, keys=limits(connections=1)),
    Case("no_node", 503, all_stopped),
    Case("connect_refused", 503, sends(GET), node_gone=True),
    Case("connect_refused", 503, sends(HALF_POST), node_gone=True),
    Case("connect_timeout", 503, sends(GET), keys=timeouts(connect=SHORT), port=-1),
    Case("connect_failed", 503, sends(GET), keys={"node": {"url": "http://255.255.255.255:80"}}),
    Case("no_descriptors", 503, without_descriptors),
    Case("upstream_tls", 502, sends(GET), speaks_no_tls, {"scheme": "https"}),
    Case("upstream_stale", 502, twice, goes_stale),
    Case("upstream_reset", 502, sends(GET), answers()),
    Case("upstream_timeout", 504, sends(GET), silent, timeouts(response=SHORT)),
    Case("upstream_timeout", 504, sends(GET), silent, timeouts(response=SHORT) | AJP),
    Case(
        "upstream_no_continue", 504, sends(EXPECTING_POST), silent, timeouts(response=SHORT)
    ),
    Case("upstream_not_ajp", 502, sends(GET), over_ajp(b"HTTP/1.1 400 Bad Request\r\n\r\n"), AJP),
    Case("upstream_refused_body", 502, sends(HALF_POST), over_ajp(data=True), AJP),
    Case("upstream_reset", 502, sends(GET), over_ajp(), AJP),
    Case("upstream_bad_response", 502, sends(GET), over_ajp(END_REUSE), AJP),
    Case("upstream_truncated", 200, sends(GET), over_ajp(AJP_HALF, wait=False), AJP),
    Case("upstream_stalled", 200, sends(GET), over_ajp(AJP_HALF), timeouts(response=SHORT) | AJP),
    Case("body_timeout", 408, sends(HALF_POST), silent, timeouts(body_idle=SHORT) | AJP),
    Case("head_too_large", 431, sends(GET[:-2] + b"A: " + b"a" * 9000 + b"\r\n\r\n"), keys=AJP),
    Case("client_abort", 499, sends(HALF_POST, until_end=False), silent, AJP),
    Case("client_abort", 200, sends(GET, until_end=False), over_ajp(AJP_HALF), AJP),
    Case("upstream_bad_response", 502, sends(GET), answers(b"nonsense\r\n\r\n")),
    Case("upstream_bad_response", 502, sends(GET), answers(SWITCHING)),
    Case("upstream_bad_response", 502, sends(GET), answers(b"HTTP/1.1 200 O")),
    Case(
        "upstream_head_too_large", 502, sends(GET), answers(HALF[:17] + b"a" * 2000, wait=True),
        limits(response_head=1000),
    ),
    Case("upstream_truncated", 200, sends(GET), answers(HALF)),
    Case(
        "upstream_truncated",
        200,
        sends(GET),
        answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"x\r\n"),
    ),
    Case("upstream_stalled", 200, sends(GET), answers(HALF, wait=True), timeouts(response=SHORT)),
    Case("tunnel_idle", 101, upgrades, answers(SWITCHING, wait=True), timeouts(tunnel_idle=SHORT)),
    Case("client_abort", 499, sends(GET, until_end=False), silent),
    Case("client_abort", 499, sends(HALF_POST, until_end=False), silent),
    Case("client_abort", 200, sends(GET, until_end=False), pours),
    Case("client_slow", 200, reads_nothing, pours, timeouts(write_idle=SHORT)),
]  # fmt: skip

# Not of one exchange with a node: where listeners, probes and the end of the process are tested.
ELSEWHERE = {"proxy_protocol", "shutting_down", "upstream_gone", "nodes_busy", "queue_full"}


def test_no_failure_is_left_out() -> None:
    assert {case.reason for case in CASES} == {f.reason for f in Failure} - ELSEWHERE


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_failure_is_logged_and_leaves_nothing_behind(stage: Stage, case: Case) -> None:
    full = _full_queue() if case.port < 0 else []
    node = await stage.node(case.script)
    if full:
        node.port = full[0].getsockname()[1]
    if case.node_gone:
        await node.stop()
    pool = {"ejection": False, **case.keys.get("pool", {})}
    door = await stage.door([node], **{**case.keys, "pool": pool})
    before = descriptors()

    await case.act(stage, door, [node])

    await door.until(lambda: not door.worker.clients)
    link = door.link("node1")
    await door.until(lambda: link.in_flight == 0)
    await door.until(lambda: descriptors() <= before + 2 * len(link.idle))
    line = door.log_lines()[-1]
    assert (line["reason"], line["status"]) == (case.reason, case.status)
    assert len(door.worker.per_client) == 0
    assert door.stats.connections == {"http": 0}
    pool_stats = door.stats.pools["idp"]
    codes = [pool_stats.unserved, *(each.codes for each in pool_stats.nodes.values())]
    assert sum(map(sum, codes)) == sum(pool_stats.durations)
    for sock in full:
        sock.close()


def _full_queue() -> list[socket.socket]:
    """Return a listening socket whose queue is full, and what fills it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    crowd = [socket.socket() for _ in range(3)]
    for sock in crowd:
        sock.setblocking(False)
        sock.connect_ex(listening.getsockname())
    return [listening, *crowd]


async def test_a_client_that_leaves_while_a_node_is_connected_to(stage: Stage) -> None:
    full = _full_queue()
    node = await stage.node()
    node.port = full[0].getsockname()[1]
    door = await stage.door([node], timeouts={"connect": "500ms"})
    before = descriptors()
    peer = await door.connect()
    await peer.send(HALF_POST)
    await door.until(lambda: door.link("node1").in_flight == 1)
    reset(peer)
    # It is not read while there is no connection to a node: the loop tells its end all the same,
    # or the connection's own limit does.
    await door.until(lambda: not door.worker.clients)
    assert door.link("node1").in_flight == 0
    await door.until(lambda: descriptors() <= before)
    for sock in full:
        sock.close()


@pytest.mark.parametrize("who", ["client", "node"])
async def test_the_end_of_a_tunnel(stage: Stage, who: str) -> None:
    node = await stage.node(answers(SWITCHING, wait=who == "client"))
    door = await stage.door([node])
    before = descriptors()
    peer = await door.connect()
    await peer.send(UPGRADE)
    assert (await peer.read_head()).status == 101
    if who == "node":
        assert await peer.read_rest() == b""
    peer.close()
    await door.until(lambda: not door.worker.clients)
    assert door.link("node1").in_flight == 0
    await door.until(lambda: descriptors() <= before)
    assert door.stats.pools["idp"].nodes["node1"].codes[1] == 1


async def test_a_node_that_answers_early_and_reads_no_more_is_let_go(stage: Stage) -> None:
    """What waits for such a node will never be sent: its connection must not wait for that."""
    over = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        await peer.read_head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.2)  # both buffers are full
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await over.wait()

    node = await stage.node(script)
    door = await stage.door([node], limits={"body": "1GiB"})
    before = descriptors()
    peer = await door.connect()
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
    sending = asyncio.ensure_future(peer.send(b"x" * 99999999))
    assert (await peer.read_message()).status == 413
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    peer.writer.transport.abort()
    await door.until(lambda: not door.worker.clients)
    await door.until(lambda: descriptors() <= before + 1)  # the node's own end
    over.set()


async def test_a_node_that_reads_no_more_of_a_tunnel_is_let_go(stage: Stage) -> None:
    over = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        await peer.read_head()
        await peer.send(SWITCHING)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"write_idle": SHORT})
    before = descriptors()
    peer = await door.connect()
    await peer.send(UPGRADE)
    assert (await peer.read_head()).status == 101
    upstream = next(iter(door.worker.clients)).exchange.upstream
    while upstream.transport.get_write_buffer_size() == 0:
        peer.writer.write(b"x" * 65536)
        await asyncio.sleep(0)
    reset(peer)
    await door.until(lambda: not door.worker.clients)
    await door.until(lambda: descriptors() <= before + 1)  # the node's own end
    assert door.link("node1").ending == []
    over.set()


async def test_a_node_that_leaves_finishes_its_exchange_and_keeps_no_connection(
    stage: Stage,
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        asked.set()
        await go_on.wait()
        await peer.answer(b"the last one")
        await peer.read_rest()

    node1, node2 = await stage.node(script), await stage.node(name="node2")
    door = await stage.door([node1])
    before = descriptors()
    response = asyncio.ensure_future(door.get())
    await asked.wait()
    other = replace(door.node("node1"), name="node2", route="node2", port=node2.port)
    door.worker.apply(Snapshot(99, {"idp": PoolSnapshot("idp", (other,))}))
    assert (await door.get()).body == b"node2"
    go_on.set()
    assert (await response).body == b"the last one"
    await door.until(lambda: not door.worker.clients)
    await door.until(lambda: descriptors() <= before + 2 * len(door.link("node2").idle))


async def test_one_tls_client_after_the_other_leaves_nothing(
    stage: Stage, tmp_path: Any, authority: trustme.CA
) -> None:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "a.crt"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "a.key"))
    tls = {"certificates": [{"cert": "a.crt", "key": "a.key"}]}
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[{"name": "http", "bind": "127.0.0.1:0", "tls": tls}],
        timeouts={"tls_handshake": SHORT},
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    before = descriptors()
    for number in range(20):
        match number % 4:
            case 0:  # never begins
                (await door.connect()).close()
            case 1:  # leaves in the middle of the handshake
                peer = await door.connect()
                await peer.send(b"\x16\x03\x01\x02\x00")
                reset(peer)
            case 2:  # a reset after the request
                peer = await door.connect(context=context)
                await peer.send(GET)
                reset(peer)
            case _:
                peer = await door.connect(context=context)
                await peer.send(GET)
                assert (await peer.read_message()).status == 200
                peer.close()
    await door.until(lambda: not door.worker.clients)
    await door.until(lambda: descriptors() <= before + 2 * len(door.link("node1").idle))
    assert door.link("node1").in_flight == 0
    assert len(door.worker.per_client) == 0
