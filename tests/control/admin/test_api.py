"""The admin API over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from lbproxy import __version__
from lbproxy.cluster.contexts import Context, ContextState, VirtualHost
from lbproxy.cluster.node import Admin, Health, Node, Reported, Source
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.stats import NodeStats, PoolStats, WorkerStats
from lbproxy.config.schema import Config
from lbproxy.control.admin.api import _describe, make_admin_app
from lbproxy.control.admin.metrics import ClusterCollector, Metrics
from lbproxy.control.reloading import History, ReloadOutcome, UpgradeOutcome

if TYPE_CHECKING:
    pass

Client = TestClient[Request, Application]


@dataclass
class Commands:
    """A control plane without one."""

    registry: Registry
    counted: WorkerStats = field(default_factory=WorkerStats)
    reason: str | None = None
    broken: bool = False
    outcome: ReloadOutcome = field(
        default_factory=lambda: ReloadOutcome(("limits.body 1 -> 2",), (), 0.0)
    )
    asked_to_reload: list[bool] = field(default_factory=list)
    reached: list[list[Admin]] = field(default_factory=list)  # what workers went by
    asked_to_upgrade: list[str] = field(default_factory=list)
    upgraded: UpgradeOutcome = field(default_factory=lambda: UpgradeOutcome("1", "2", at=0.0))

    def nodes(self) -> tuple[Node, ...]:
        if self.broken:
            raise RuntimeError("secret detail")
        return self.registry.nodes()

    def command(self, pool: str, node: str, admin: Admin, reason: str) -> None:
        self.registry.command(pool, node, admin, reason, 1.0)

    async def counters(self) -> WorkerStats:
        return self.counted

    async def reached_workers(self) -> None:
        self.reached.append([node.admin for node in self.registry.nodes()])

    async def reload(self, dry_run: bool) -> ReloadOutcome:
        self.asked_to_reload.append(dry_run)
        return self.outcome

    async def upgrade(self, program: str) -> UpgradeOutcome:
        self.asked_to_upgrade.append(program)
        return self.upgraded

    def history(self) -> History:
        return History(time.time() - 90.0, 2, self.outcome, 4, self.upgraded)

    def settings(self) -> dict[str, object]:
        return {"workers": 4}

    def not_ready(self) -> str | None:
        return self.reason


@pytest.fixture
def commands(configure: Callable[..., Config]) -> Commands:
    config = configure("http://10.0.0.1:9011", "https://10.0.0.2:9013", health=False)
    counters = WorkerStats(pools={"idp": PoolStats(nodes={"node1": NodeStats(in_flight=3)})})
    return Commands(Registry(config, 0.0), counters)


@pytest.fixture
async def connect(commands: Commands) -> AsyncIterator[Callable[..., object]]:
    clients: list[Client] = []

    async def make(token: bytes | None = None, check_host: bool = True) -> Client:
        collector = ClusterCollector(commands.nodes, lambda: commands.counted, dict)
        app = make_admin_app(commands, Metrics(collector), token=token, check_host=check_host)
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def client(connect: Callable[..., object]) -> Client:
    return await connect()  # type: ignore[misc,no-any-return]


async def problem(response: ClientResponse) -> dict[str, object]:
    assert response.content_type == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    body = json.loads(await response.text())
    assert body["status"] == response.status
    assert body["title"]
    assert isinstance(body, dict)
    return body


async def test_nodes(client: Client) -> None:
    async with client.get("/api/v1/nodes") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        nodes = (await response.json())["nodes"]
    assert nodes[0].pop("for_s") >= 0
    assert datetime.fromisoformat(nodes[0].pop("since")) <= datetime.now(UTC)
    assert nodes[0] == {
        "pool": "idp",
        "name": "node1",
        "route": "node1",
        "url": "http://10.0.0.1:9011",
        "addresses": [],
        "source": "config",
        "health": "up",
        "admin": "enabled",
        "ejected": False,
        "weight": 1,
        "load": None,
        "in_flight": 3,
        "max_in_flight": None,
        "reason": "",
        "observed": "",
        "commanded": "",
        "domain": "",
        "reported": "nothing",
        "quarantined": False,
        "contexts": None,
    }
    assert [node["name"] for node in nodes] == ["node1", "node2"]


async def test_the_last_command_stands_beside_what_was_observed(
    client: Client, commands: Commands
) -> None:
    health = commands.registry.roster("idp").entries["node1"]
    health.node = replace(health.node, reason="HTTP 200")
    async with client.post("/api/v1/nodes/idp/node1/drain") as response:
        node = await response.json()
    assert node["reason"] == "HTTP 200; drain by the admin API"
    assert (node["observed"], node["commanded"]) == ("HTTP 200", "drain by the admin API")
    assert "warning" not in node


async def test_commanding_the_last_node_for_new_sessions_is_warned_of(client: Client) -> None:
    warnings = []
    for path in ("node1/drain", "node2/drain", "node2/disable", "node1/enable", "node1/disable"):
        async with client.post(f"/api/v1/nodes/idp/{path}") as response:
            warnings.append((await response.json()).get("warning"))
    text = "{} was the last node of pool idp that takes new sessions"
    assert warnings == [None, text.format("node2"), None, None, text.format("node1")]


async def test_in_a_panic_as_well(client: Client, commands: Commands) -> None:
    """What is down may still get what has nowhere else to go; a command ends that, too."""
    roster = commands.registry.roster("idp")
    warnings = []
    for name, health in (("node2", Health.DOWN), ("node1", Health.UP)):
        entry = roster.entries[name]
        roster.set(entry, replace(entry.node, health=health))
    for name in ("node1", "node2"):
        async with client.post(f"/api/v1/nodes/idp/{name}/drain") as response:
            warnings.append((await response.json()).get("warning"))
    text = "{} was the last node of pool idp that takes new sessions{}"
    assert warnings == [
        *(text.format("node1", "; the others are not up"), text.format("node2", "")),
    ]


def test_an_announced_node_shows_what_it_said() -> None:
    hosts = (
        VirtualHost(("h", "i"), (Context("/auth", ContextState.DISABLED),)),
        VirtualHost(("j",), (Context("/", ContextState.ENABLED),)),
    )
    node = Node(
        *("idp", "kc1", "kc1", "http", "10.0.0.9", 80),
        source=Source.MCMP,
        reported=Reported.STANDBY,
        quarantined=True,
        virtual_hosts=hosts,
        domain="east",
    )
    shown = _describe(node, WorkerStats())
    assert {key: shown[key] for key in ("source", "reported", "quarantined", "domain")} == {
        "source": "mcmp",
        "reported": "standby",
        "quarantined": True,
        "domain": "east",
    }
    assert shown["contexts"] == [
        {"path": "/auth", "state": "disabled", "aliases": ["h", "i"]},
        {"path": "/", "state": "enabled", "aliases": ["j"]},
    ]


@pytest.mark.parametrize(
    ("command", "admin"), [("drain", "draining"), ("disable", "stopped"), ("enable", "enabled")]
)
async def test_commands(client: Client, commands: Commands, command: str, admin: str) -> None:
    commands.command("idp", "node1", Admin.STOPPED if command == "enable" else Admin.ENABLED, "x")
    async with client.post(f"/api/v1/nodes/idp/node1/{command}") as response:
        assert response.status == 200
        answer = await response.json()
    assert (answer["name"], answer["admin"]) == ("node1", admin)
    assert answer["reason"] == f"{command} by the admin API"
    assert commands.nodes()[0].admin.value == admin
    assert commands.nodes()[1].admin is Admin.ENABLED
    assert commands.reached == [[Admin(admin), Admin.ENABLED]], "before the answer"


async def test_settings(client: Client) -> None:
    async with client.get("/api/v1/config") as response:
        assert await response.json() == {
            "version": __version__,
            "generation": 2,
            "workers": 4,
            "settings": {"workers": 4},
        }


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/v1/nodes/idp/node9/drain", "node1, node2"),
        ("/api/v1/nodes/other/node1/drain", "idp"),
        ("/api/v1/nodes/idp/node1/explode", "disable, drain, enable"),
        ("/nowhere", "no such resource"),
    ],
)
async def test_what_is_not_there(client: Client, path: str, text: str) -> None:
    async with client.post(path) as response:
        assert response.status == 404
        assert text in str((await problem(response))["detail"])


async def test_get_changes_nothing(client: Client, commands: Commands) -> None:
    async with client.get("/api/v1/nodes/idp/node1/drain") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert "POST" in str((await problem(response))["detail"])
    async with client.delete("/api/v1/nodes") as response:
        assert response.status == 405
        await problem(response)
    assert commands.nodes()[0].admin is Admin.ENABLED


async def test_livez_and_readyz(client: Client, commands: Commands) -> None:
    async with client.get("/livez") as response:
        assert await response.json() == {"live": True}
    async with client.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"ready": True})
    commands.reason = "shutting down"
    async with client.get("/livez") as response:
        assert response.status == 200
    async with client.get("/readyz") as response:
        assert response.status == 503
        answer = await problem(response)
    assert (answer["detail"], answer["ready"]) == ("shutting down", False)


@pytest.mark.parametrize(
    ("accept", "kind", "end"),
    [
        ("text/plain", "text/plain", b""),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text", b"# EOF\n"),
    ],
)
async def test_metrics(client: Client, accept: str, kind: str, end: bytes) -> None:
    async with client.get("/metrics", headers={"Accept": accept}) as response:
        assert response.status == 200
        assert response.content_type == kind
        body = await response.read()
    assert b'lbproxy_node_in_flight{node="node1",pool="idp"} 3.0' in body
    assert body.endswith(end)


async def test_our_own_fault_tells_no_detail(
    client: Client, commands: Commands, caplog: pytest.LogCaptureFixture
) -> None:
    commands.broken = True
    async with client.get("/api/v1/nodes") as response:
        assert response.status == 500
        assert "secret" not in json.dumps(await problem(response))
    assert "GET /api/v1/nodes failed" in caplog.text


async def test_health_is_shown(
    connect: Callable[..., object], commands: Commands, configure: Callable[..., Config]
) -> None:
    commands.registry = Registry(configure("http://10.0.0.1:1"), 0.0)
    client = await connect()  # type: ignore[misc]
    async with client.get("/api/v1/nodes") as response:
        (node,) = (await response.json())["nodes"]
    assert node["health"] == Health.UNKNOWN.value


async def test_a_reload_is_asked_for(connect: Callable[..., Any], commands: Commands) -> None:
    client = await connect()
    answer = await client.post("/api/v1/reload")
    assert (answer.status, await answer.json()) == (
        200,
        {"changes": ["limits.body 1 -> 2"], "applied": True, "generation": 2},
    )
    plan = await client.post("/api/v1/reload?dry_run=true")
    assert not (await plan.json())["applied"]
    assert (await client.post("/api/v1/reload?dry_run=perhaps")).status == 400
    assert commands.asked_to_reload == [False, True]


async def test_why_nothing_was_changed_is_said(
    connect: Callable[..., Any], commands: Commands
) -> None:
    commands.outcome = ReloadOutcome(problems=("x.yaml:1:1: bad", "x.yaml:2:1: worse"))
    answer = await (await connect()).post("/api/v1/reload")
    document = await answer.json()
    assert answer.status == 422
    assert answer.content_type == "application/problem+json"
    assert document["problems"] == ["x.yaml:1:1: bad", "x.yaml:2:1: worse"]
    assert document["detail"] == "nothing was changed: x.yaml:1:1: bad"


async def test_an_upgrade_is_asked_for(connect: Callable[..., Any], commands: Commands) -> None:
    client = await connect()
    answer = await client.post("/api/v1/upgrade?to=/opt/b/lbproxy")
    worked = {"at": "1970-01-01T00:00:00Z", "worked": True, "before": "1", "after": "2"}
    assert (answer.status, await answer.json()) == (200, worked | {"problems": []})
    commands.upgraded = UpgradeOutcome("1", problems=("no worker today",))
    answer = await client.post("/api/v1/upgrade")
    document = await answer.json()
    assert (answer.status, document["problems"]) == (422, ["no worker today"])
    assert document["detail"] == "version 1 goes on: no worker today"
    assert commands.asked_to_upgrade == ["/opt/b/lbproxy", ""]


async def test_what_runs_is_told(connect: Callable[..., Any]) -> None:
    document = await (await (await connect()).get("/api/v1/status")).json()
    assert document["version"] == __version__
    assert 90.0 <= document["uptime_s"] < 600.0
    assert (document["workers"], document["generation"]) == (4, 2)
    assert document["last_reload"] == {
        "at": "1970-01-01T00:00:00Z",
        "worked": True,
        "changes": ["limits.body 1 -> 2"],
        "problems": [],
    }
    assert document["last_upgrade"]["after"] == "2"
