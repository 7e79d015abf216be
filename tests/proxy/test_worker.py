"""One worker: what it serves, what its tick ends, how it drains and stops."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from lbproxy.cluster.node import Admin
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.cluster.sticky import Affinity
from lbproxy.config.schema import Config
from lbproxy.errors import Failure
from lbproxy.limits.board import Board, board_size
from lbproxy.proxy import worker as worker_module
from lbproxy.proxy.downstream.http1 import Http1Connection
from lbproxy.proxy.downstream.tls import DownstreamTls
from lbproxy.proxy.exchange import stages
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.proxy.upstream.ajp import AjpUpstream
from lbproxy.proxy.upstream.http1 import Http1Upstream
from lbproxy.proxy.worker import Worker
from tests.proxy.exchange.bringing import assert_ended, bring
from tests.proxy.scripted import GET, NOW, POST, Scene, Talk, Transport, answer, node, turn


def accept(scene: Scene) -> tuple[Http1Connection, Transport]:
    """Let the worker serve a connection."""
    served = scene.worker.serve(scene.listener, None)
    transport = Transport()
    scene.transports.append(transport)
    served.connection_made(cast(asyncio.BaseTransport, transport))
    assert isinstance(served, Http1Connection)
    return served, transport


async def asked(scene: Scene, data: bytes = GET) -> tuple[Http1Connection, Transport]:
    """Return a connection whose request its node was sent."""
    scene.apply(node())
    scene.idle()
    connection, transport = accept(scene)
    connection.data_received(data)
    await turn(1)
    assert connection.exchange is not None
    assert connection.exchange.stage == stages.ASKED
    return connection, transport


def tick(scene: Scene) -> None:
    """Let the worker tick, at the real time."""
    scene.worker._tick()
    assert scene.worker._timer is not None
    scene.worker._timer.cancel()


async def test_a_plain_listener_is_served_at_once(scene: Scene) -> None:
    connection, _ = accept(scene)
    assert scene.worker.clients == {connection}
    connection.connection_lost(None)
    assert scene.worker.clients == set()


async def test_a_listener_in_tls_shakes_hands_first(scene: Scene) -> None:
    class Tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

    scene.listener.tls = cast(ServerTls, Tls())
    served = scene.worker.serve(scene.listener, None)
    assert isinstance(served, DownstreamTls)
    served.connection_made(cast(asyncio.BaseTransport, Transport()))
    assert scene.worker.handshakes == {served}


@pytest.mark.parametrize(("scheme", "kind"), [("http", Http1Upstream), ("ajp", AjpUpstream)])
def test_each_node_is_spoken_with_in_its_own_way(
    scene: Scene, scheme: str, kind: type[Any]
) -> None:
    scene.apply(node(scheme=scheme))
    assert type(scene.desk.make_upstream(scene.desk, scene.link())) is kind


# The tick.


async def test_the_tick_ends_what_is_overdue(scene: Scene) -> None:
    late, transport = accept(scene)
    scene.desk.now = 1e12
    fine, other = accept(scene)
    late.deadline = 0.0
    tick(scene)
    assert (transport.ended, other.ended) == ("close", "")
    assert fine.phase == 0


async def test_a_fault_at_one_end_is_nobody_elses(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.desk.now = 0.0
    made = [accept(scene) for _ in range(2)]
    for connection, transport in made:
        connection.deadline = 0.0
        transport.close = _fault  # type: ignore[method-assign]
    tick(scene)
    assert caplog.text.count("at the end of a client's time") == 2


def _fault() -> None:
    raise RuntimeError("the test's")


async def test_the_tick_ends_handshakes_that_do_not_come(scene: Scene) -> None:
    class Handshake:
        peer, admitted, deadline, ended = "198.51.100.1", False, 0.0, False
        listener = scene.listener

        def expire(self) -> None:
            self.ended = True

        abort = expire

    late, fine = Handshake(), Handshake()
    fine.deadline = 1e12
    scene.worker.handshakes.update((late, fine))
    tick(scene)
    assert (late.ended, fine.ended) == (True, False)


async def test_the_tick_writes_the_access_log(scene: Scene) -> None:
    connection, _ = await asked(scene)
    assert connection.exchange is not None
    connection.exchange.gone()
    assert scene.path.read_bytes() == b""
    tick(scene)
    assert scene.path.read_bytes().count(b"\n") == 1


async def test_the_tick_closes_connections_that_were_idle_for_long(scene: Scene) -> None:
    scene.apply(node())
    speaker = scene.idle()
    speaker.connection.idle_until = 0.0
    tick(scene)
    assert speaker.transport.ended == "close"


# Nodes of which nothing is heard.


@pytest.mark.parametrize(
    ("heard_at", "admin", "ends"),
    [
        (NOW - 9.0, Admin.ENABLED, True),
        (NOW - 1.0, Admin.ENABLED, False),  # it began an answer meanwhile
        (NOW - 9.0, Admin.DRAINING, False),  # it may have closed its port while it finishes
    ],
)
async def test_an_exchange_at_a_node_that_is_gone_is_given_up(
    scene: Scene, heard_at: float, admin: Admin, ends: bool
) -> None:
    connection, transport = await asked(scene, GET.replace(b"GET", b"PROPFIND", 1))
    scene.link().heard_at = heard_at
    scene.apply(replace(scene.link().node, gone_since=NOW - 5.0, admin=admin))
    assert transport.sent().startswith(b"HTTP/1.1 504 ") is ends
    assert (connection.exchange is None) is ends
    scene.apply(replace(scene.link().node, gone_since=NOW - 5.0, load=3))
    assert (connection.exchange is None) is ends


# The end.


async def test_draining_waits_for_what_is_in_progress(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "NEWCOMER_S", 0.0)
    busy, transport = await asked(scene)
    silent, silent_transport = accept(scene)
    drains = asyncio.ensure_future(scene.worker.drain(10.0))
    while not silent_transport.ended:
        await turn()
    assert (transport.ended, silent_transport.ended, drains.done()) == ("", "close", False)
    silent.connection_lost(None)
    await turn()
    assert not drains.done()
    assert busy.exchange is not None
    busy.exchange.fail(Failure.UPSTREAM_BAD_RESPONSE)
    assert transport.ended == "close"
    busy.connection_lost(None)
    assert await drains


async def test_draining_has_a_limit(scene: Scene) -> None:
    await asked(scene)
    assert not await scene.worker.drain(0.0)


@pytest.mark.parametrize("stage", ["room", "connecting", "asked"])
async def test_what_is_left_is_cut_off_and_named(
    scene: Scene, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    if stage == "asked":
        connection, transport = await asked(scene, POST + b"ab")
    else:
        quarantined = stage == "room"
        scene.apply(node(contexts="/", balancer="one", quarantined=quarantined), wait_s=5.0)
        connection, transport = accept(scene)
        connection.data_received(GET)
        await turn()
    exchange = connection.exchange
    assert exchange is not None
    assert stages.ROWS[exchange.stage].name == stage
    scene.worker.stop()
    await turn()
    assert "1 exchange cut off: " in caplog.text
    assert transport.ended == "abort"
    assert_ended(scene, cast(Talk, exchange), answered=False)
    assert scene.desk.tasks == set()
    assert exchange.reason == "shutting_down"


async def test_the_counters(scene: Scene) -> None:
    scene.worker.listeners.append(scene.listener)
    talk = await bring(scene, "asked")
    accept(scene)
    stats = scene.worker.stats()
    assert (stats.connections, stats.accepted) == ({"http": 1}, {"http": 1})
    assert stats.pools["idp"].nodes["a"].in_flight == 1
    assert scene.worker.in_flight("idp", "a", "/") == 1
    assert scene.worker.in_flight("idp", "a", "/no") == scene.worker.in_flight("no", "a", "/") == 0
    talk.exchange.gone()
    assert scene.worker.stats().pools["idp"].nodes["a"].in_flight == 0


# Several workers of one machine.

SHARED = {
    "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
    "pools": {
        "idp": {
            "balance": "least_requests",
            "nodes": [{"name": "a", "url": "http://192.0.2.7:8080"}],
            "sticky": {"by": ["learned"], "cookie": "S"},
        },
        "plain": {"nodes": [{"name": "a", "url": "http://192.0.2.8:8080"}]},
    },
    "routes": [{"pool": "idp"}],
}


class Reports:
    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None: ...

    def node_recovered(self, pool: str, node: str) -> None: ...


def workers(count: int) -> tuple[list[Worker], Board]:
    """Return workers that have two nodes and share a board."""
    board = Board(bytearray(board_size(count)), count, b"key")
    config = Config.model_validate(SHARED)
    made = [Worker(config, Reports(), None, {}, page=board.page(each)) for each in range(count)]
    nodes = tuple(replace(node(name), pool="idp") for name in ("a", "b"))
    pools = {"idp": PoolSnapshot("idp", nodes, {}), "plain": PoolSnapshot("plain", (), {})}
    for each in made:
        each.apply(Snapshot(1, pools))
    return made, board


def affinity(worker: Worker) -> Affinity:
    found = worker.pools["idp"].affinity
    assert found is not None
    return found


def test_requests_of_other_workers_make_a_node_busy() -> None:
    (one, other), board = workers(2)
    link = one.pools["idp"].links["a"]
    for _ in range(3):
        link.enter()

    def chosen() -> set[str]:
        found = [other.pools["idp"].pick(None, 0.0, None, None) for _ in range(50)]
        return {each.name for each in found if each is not None}

    other.pools["idp"].links["b"].enter()  # else whoever is drawn first is idle, and taken
    assert chosen() == {"b"}
    assert other.pools["idp"].links["a"].in_flight == 0
    board.clear(0)
    assert chosen() == {"a"}


async def test_a_request_is_counted_for_the_others_while_it_lasts(scene: Scene) -> None:
    board = Board(bytearray(board_size(2)), 2, b"key")
    scene.apply(node())
    scene.link().shared = board.page(0).requests("idp", "a")
    seen = board.page(1).requests("idp", "a")
    connection, _ = await asked(scene)
    assert (seen.elsewhere(), scene.link().in_flight) == (1, 1)
    connection.connection_lost(None)
    await turn(1)
    assert (seen.elsewhere(), scene.link().in_flight) == (0, 0)


def test_workers_learn_sessions_from_each_other() -> None:
    (one, other, new), _ = workers(3)
    assert one.learned() == other.learned() == {}
    affinity(one).learn(b"x", one.pools["idp"].links["b"], 1.0)
    told = one.learned()
    assert told == {"idp": [(b"x", "b", 1.0)]}
    assert one.learned() == {}
    other.learn({**told, "gone": [(b"y", "a", 1.0)], "plain": [(b"z", "a", 1.0)]})
    assert other.learned() == {}
    assert other.all_learned() == told
    new.learn(other.all_learned())
    verdict = affinity(new).decide(0.0, [b"x"], None, None)
    assert verdict.member is new.pools["idp"].links["b"]


async def test_a_session_that_a_node_sets_is_learned_with_its_time(tmp_path: Path) -> None:
    """The exact one: who learned of it later is right, within one tick as well."""
    scene = Scene(tmp_path, {"sticky": {"by": ["learned"], "cookie": "S"}})
    assert scene.worker.learned() == {}
    before = monotonic()
    brought = await bring(scene, "asked")
    head = answer(length=0)
    head.set_cookies = [b"S=x; Path=/"]
    brought.exchange.respond(head, b"", True)
    ((key, name, since),) = scene.worker.learned()["idp"]
    assert (key, name) == (b"x", "a")
    assert before < since < monotonic()
    scene.close()


# All is imported before there are workers, as a supervisor does that forks them.
FORKS = """
import os
from tests.proxy.test_worker import workers
for _ in range(2):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        continue
    (one,), _ = workers(1)
    pick = one.pools["idp"].pick
    chosen = "".join(pick(None, 0.0, None, None).name for _ in range(64))
    os.write(1, one.desk.ids.make() + b" " + chosen.encode() + b"\\n")
    os._exit(0)
"""


def test_workers_that_were_forked_neither_choose_nor_count_alike() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", FORKS]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=root)
    assert ran.returncode == 0, ran.stderr
    one, other = ran.stdout.splitlines()
    assert all(mine != theirs for mine, theirs in zip(one.split(), other.split(), strict=True))
    assert set(one.split()[1]) == set(other.split()[1]) == {"a", "b"}
