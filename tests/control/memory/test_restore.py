"""What of a state is taken in again, and what the configuration no longer allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lbproxy.cluster.contexts import BalancerSettings, Context, ContextState, VirtualHost
from lbproxy.cluster.membership import Bounds, Membership
from lbproxy.cluster.node import Admin, Health, Node, NodeTls, Reported, Source, Tuning
from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import Config
from lbproxy.control.memory.restore import restore
from lbproxy.control.memory.state import (
    Encoder,
    SavedAddresses,
    SavedBalancer,
    SavedCommand,
    SavedNode,
    SavedState,
    decode,
)

HOSTS = (
    VirtualHost(
        ("default-host", "localhost"),
        (Context("/auth", ContextState.ENABLED), Context("/admin", ContextState.STOPPED)),
    ),
)
ANNOUNCED = SavedNode(
    *("idp", "n1", "n1", Source.MCMP, "ajp", "10.0.0.5", 8009),
    reported=Reported.ACTIVE,
    virtual_hosts=HOSTS,
    balancer="mycluster",
    domain="blue",
    tuning=Tuning(response_s=5.0),
)
AGENT = replace(ANNOUNCED, source=Source.AGENT, virtual_hosts=None)
ADDRESS = SavedNode("dns", "10.0.0.6", "10.0.0.6", Source.DNS, "http", "10.0.0.6", 8080)
SERVICE = SavedNode(
    *("srv", "kc-0.example", "kc-0", Source.DNS, "https", "kc-0.example", 8443),
    weight=7,
    addresses=("10.0.0.7",),
    reported=Reported.STANDBY,
)
BALANCER = BalancerSettings("mycluster", cookie="SID")
MCMP: dict[str, Any] = {
    "bind": "127.0.0.1:0",
    "pool": "idp",
    "allow": ["10.0.0.0/24"],
    "packet_size": "16KiB",
    "agents": {"allow": ["10.0.1.0/24"]},
}
POOLS: dict[str, Any] = {
    "idp": {"nodes": [{"name": "yaml", "url": "http://yaml.example:80"}]},
    "dns": {"discover": {"dns": "kc.example", "port": 8080}},
    "srv": {"discover": {"srv": "_x._tcp.example", "scheme": "https", "tls": {"verify": False}}},
}


def config(pools: dict[str, Any] | None = None, **more: Any) -> Config:
    return Config.model_validate(
        {
            "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
            "pools": POOLS | (pools or {}),
            "routes": [{"pool": "idp"}],
            "mcmp": MCMP,
        }
        | more
    )


def take_in(
    state: SavedState, settings: Config | None = None
) -> tuple[dict[str, Node], list[str], Registry]:
    settings = settings or config()
    registry = Registry(settings, 0.0)
    count, refused = restore(state, settings, registry, 5.0)
    nodes = {node.name: node for node in registry.nodes()}
    assert count == len(nodes) - len([n for n in nodes.values() if n.source is Source.CONFIG])
    return nodes, refused, registry


def test_an_announced_node() -> None:
    state = SavedState((ANNOUNCED,), (SavedBalancer("idp", BALANCER),))
    nodes, refused, registry = take_in(state)
    assert refused == []
    node = nodes["n1"]
    assert (node.host, node.port, node.scheme, node.source) == (
        *("10.0.0.5", 8009, "ajp"),
        Source.MCMP,
    )
    assert (node.virtual_hosts, node.balancer, node.domain) == (HOSTS, "mycluster", "blue")
    assert (node.tuning, node.reported) == (Tuning(response_s=5.0), Reported.ACTIVE)
    assert node.packet_size == 16 << 10
    assert node.quarantined
    assert node.health is Health.UNKNOWN
    assert not node.may_be_tried
    assert registry.snapshot().pools["idp"].balancers == {"mycluster": BALANCER}


def test_a_restored_node_is_one_that_announced_itself() -> None:
    """It goes on saying things, and is forgotten when its probes fail for long."""
    _, _, registry = take_in(SavedState((ANNOUNCED,)))
    members = Membership(registry, "idp", Bounds(10, 10, 10), 60.0)
    members.report("n1", 80, Source.MCMP, 6.0)
    assert members.find("n1", Source.MCMP).load == 80


def test_a_node_is_known_from_before_until_it_announces_itself() -> None:
    _, _, registry = take_in(SavedState((ANNOUNCED,)))
    members = Membership(registry, "idp", Bounds(10, 10, 10), 60.0)
    members.report("n1", 80, Source.MCMP, 6.0)
    assert members.restored("n1", Source.MCMP)
    members.announce(members.find("n1", Source.MCMP), BALANCER, 7.0)
    assert not members.restored("n1", Source.MCMP)


@pytest.mark.parametrize("state", ContextState)
def test_an_agent_that_takes_its_node_out_is_not_disturbed(state: ContextState) -> None:
    """Told that the node is not known it would think that it is gone."""
    hosts = (VirtualHost(("h",), (Context("/", state),)),)
    _, _, registry = take_in(SavedState((replace(AGENT, virtual_hosts=hosts),)))
    members = Membership(registry, "idp", Bounds(10, 10, 10), 60.0)
    assert members.restored("n1", Source.AGENT) is (state is ContextState.ENABLED)


def test_a_discovered_node() -> None:
    nodes, refused, _ = take_in(SavedState((ADDRESS, SERVICE)))
    assert refused == []
    assert nodes["10.0.0.6"].targets == ("10.0.0.6",)
    node = nodes["kc-0.example"]
    assert (node.targets, node.weight, node.reported) == (("10.0.0.7",), 7, Reported.STANDBY)
    assert node.tls == NodeTls(verify=False)
    assert node.quarantined


def test_the_name_that_an_https_node_announced_is_held_against_it() -> None:
    saved = replace(ANNOUNCED, scheme="https", server_name="n1.internal")
    assert take_in(SavedState((saved,)))[0]["n1"].tls == NodeTls(server_name="n1.internal")
    settings = config(mcmp=MCMP | {"node_tls": {"server_name": "idp.internal"}})
    assert take_in(SavedState((saved,)), settings)[0]["n1"].tls.server_name == "idp.internal"


def test_commands_hold_for_nodes_of_every_source() -> None:
    commands = (
        SavedCommand("idp", "yaml", Admin.STOPPED),
        SavedCommand("idp", "n1", Admin.DRAINING),
        SavedCommand("idp", "gone", Admin.STOPPED),
        SavedCommand("gone", "yaml", Admin.STOPPED),
    )
    nodes, refused, _ = take_in(SavedState((ANNOUNCED,), (), commands))
    assert (nodes["yaml"].admin, nodes["n1"].admin) == (Admin.STOPPED, Admin.DRAINING)
    assert [line.partition(":")[0] for line in refused] == [
        "stopped of node gone",
        "stopped of node yaml",
    ]


@pytest.mark.parametrize(
    ("known", "targets"),
    [
        (SavedAddresses("idp", "yaml", "yaml.example", ("10.0.0.9",)), ("10.0.0.9",)),
        (SavedAddresses("idp", "yaml", "other.example", ("10.0.0.9",)), ()),
        (SavedAddresses("idp", "yaml", "yaml.example", ("127.0.0.1",)), ()),
        (SavedAddresses("idp", "gone", "yaml.example", ("10.0.0.9",)), ()),
        (SavedAddresses("gone", "yaml", "yaml.example", ("10.0.0.9",)), ()),
    ],
)
def test_addresses_of_names(known: SavedAddresses, targets: tuple[str, ...]) -> None:
    nodes, refused, _ = take_in(SavedState((), (), (), (known,)))
    assert nodes["yaml"].targets == targets
    assert refused == []


def test_a_node_that_is_a_configured_one_is_not_let_in() -> None:
    known = SavedAddresses("idp", "yaml", "yaml.example", ("10.0.0.5",))
    twin = replace(ANNOUNCED, scheme="http", port=80)
    nodes, refused, _ = take_in(SavedState((twin,), (), (), (known,)))
    assert "n1" not in nodes
    (line,) = refused
    assert "has the address http://10.0.0.5:80 of node 'yaml'" in line


OPEN = POOLS["idp"]


@pytest.mark.parametrize(
    ("saved", "settings", "words"),
    [
        (ANNOUNCED, config(mcmp=False), "mcmp is off"),
        (ANNOUNCED, config(mcmp=MCMP | {"pool": "dns"}), "nodes join pool dns now"),
        (ANNOUNCED, config(mcmp=MCMP | {"allow": ["10.9.0.0/24"]}), "mcmp.node_networks"),
        (ANNOUNCED, config(mcmp=MCMP | {"node_networks": ["10.9.0.0/24"]}), "10.0.0.5 lies in"),
        (
            replace(ANNOUNCED, host="127.0.0.1"),
            config(mcmp=MCMP | {"node_networks": ["10.0.0.0/24"]}),
            "127.0.0.1 lies in none",
        ),
        (replace(ANNOUNCED, host="node1.example"), config(), "is no address"),
        (ANNOUNCED, config(mcmp=MCMP | {"max": {"contexts": 1}}), "more contexts or aliases"),
        (ANNOUNCED, config(mcmp=MCMP | {"max": {"aliases": 1}}), "more contexts or aliases"),
        (replace(ANNOUNCED, name="yaml", route="yaml"), config(), "is that of node 'yaml'"),
        (replace(ANNOUNCED, pool="gone"), config(), "nodes join pool idp now"),
        (AGENT, config(mcmp=MCMP | {"agents": False}), "mcmp.agents is off"),
        (replace(ADDRESS, pool="gone"), config(), "discovers no nodes"),
        (replace(ADDRESS, pool="idp"), config(), "discovers no nodes"),
        (ADDRESS, config({"dns": OPEN}), "discovers no nodes"),
        (replace(ADDRESS, port=9), config(), "at port 8080 now"),
        (replace(ADDRESS, scheme="https"), config(), "discovers other nodes now"),
        (replace(ADDRESS, host="127.0.0.1"), config(), "127.0.0.1: loopback: see resolver.allow"),
        (replace(ADDRESS, host="localhost"), config(), "localhost: no address"),
        (replace(ADDRESS, host="1.2"), config(), "1.2: no address"),
        (replace(SERVICE, host="127.0.0.1"), config(), "discovers other nodes now"),
        (replace(SERVICE, pool="dns", scheme="http"), config(), "discovers other nodes now"),
        (replace(ANNOUNCED, source=Source.CONFIG), config(), "discovers no nodes"),
    ],
)
def test_what_is_allowed_no_more(saved: SavedNode, settings: Config, words: str) -> None:
    nodes, refused, _ = take_in(SavedState((saved,)), settings)
    assert set(nodes) <= {"yaml"}
    (line,) = refused
    assert line.startswith(f"node {saved.name} of pool {saved.pool}: ")
    assert words in line


def test_a_node_on_this_machine_is_allowed_where_no_networks_are_named() -> None:
    saved = replace(ANNOUNCED, host="127.0.0.1")
    assert set(take_in(SavedState((saved,)))[0]) == {"n1", "yaml"}


def test_contexts_that_are_not_taken_in_any_more() -> None:
    nodes, _, _ = take_in(SavedState((ANNOUNCED,)), config(mcmp=MCMP | {"contexts": ["/auth"]}))
    (host,) = nodes["n1"].virtual_hosts or ()
    assert [context.path for context in host.contexts] == ["/auth"]
    nodes, _, _ = take_in(SavedState((ANNOUNCED,)), config(mcmp=MCMP | {"contexts": ["/other"]}))
    assert nodes["n1"].virtual_hosts == ()


def test_no_more_nodes_than_are_allowed() -> None:
    many = tuple(
        replace(ANNOUNCED, name=f"n{i}", route=f"n{i}", host=f"10.0.0.{i}") for i in range(5)
    )
    nodes, refused, _ = take_in(SavedState(many), config(mcmp=MCMP | {"max": {"nodes": 3}}))
    assert len(nodes) == 4
    assert len(refused) == 2


def test_addresses_of_services_are_held_against_the_rules() -> None:
    saved = replace(SERVICE, addresses=("127.0.0.1", "10.0.0.7"))
    assert take_in(SavedState((saved,)))[0]["kc-0.example"].addresses == ("10.0.0.7",)


def test_a_restart_after_a_restart_finds_the_same() -> None:
    state = SavedState(
        (ANNOUNCED, ADDRESS, SERVICE),
        (SavedBalancer("idp", BALANCER),),
        (SavedCommand("idp", "n1", Admin.DRAINING),),
        (SavedAddresses("idp", "yaml", "yaml.example", ("10.0.0.9",)),),
    )
    _, _, registry = take_in(state)
    assert decode(Encoder().encode(registry.snapshot(), ())) == state
