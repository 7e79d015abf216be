"""The state file's content: nothing is lost on the way there and back, and nothing bad comes in."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.cluster.contexts import BalancerSettings, Context, ContextState, VirtualHost
from lbproxy.cluster.node import Admin, Health, Node, NodeTls, Reported, Source, Tuning
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.control.memory.state import (
    BadState,
    Encoder,
    SavedAddresses,
    SavedBalancer,
    SavedCommand,
    SavedNode,
    SavedState,
    decode,
)

text = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.from_regex(r"\A[!-+\--:<-\[\]-~]{1,12}\Z")
addresses = st.lists(st.ip_addresses().map(str), max_size=3).map(tuple)
contexts = st.builds(Context, text, st.sampled_from(ContextState))
hosts = st.builds(
    VirtualHost, st.lists(text, max_size=3).map(tuple), st.lists(contexts, max_size=3).map(tuple)
)
seconds = st.none() | st.floats(0, 1e6)
tunings = st.builds(Tuning, seconds, seconds, st.none() | st.integers(0, 9), seconds, text)
balancers = st.builds(
    BalancerSettings, text, st.booleans(), text, text, st.booleans(), st.booleans(), st.floats(0, 9)
)
nodes = st.builds(
    Node,
    pool=st.just("idp"),
    name=names,
    route=names,
    scheme=st.sampled_from(["http", "https", "ajp"]),
    host=st.sampled_from(["10.0.0.1", "fd00::1", "kc-0.example"]),
    port=st.integers(1, 65535),
    weight=st.integers(1, 1000),
    load=st.none() | st.integers(1, 100),
    tls=st.builds(NodeTls, st.none() | text, st.none() | text, st.booleans()),
    source=st.sampled_from(Source),
    health=st.sampled_from(Health),
    admin=st.sampled_from(Admin),
    addresses=addresses,
    secret_file=st.none() | text,
    quarantined=st.booleans(),
    reported=st.sampled_from(Reported),
    virtual_hosts=st.none() | st.lists(hosts, max_size=2).map(tuple),
    balancer=text,
    domain=text,
    tuning=tunings,
)
pools = st.lists(nodes, max_size=5, unique_by=lambda node: node.name)


def snapshot(*nodes: Node, balancers: tuple[BalancerSettings, ...] = ()) -> Snapshot:
    said = {each.name: each for each in balancers}
    return Snapshot(1, {"idp": PoolSnapshot("idp", nodes, said)})


@settings(max_examples=200, deadline=None)
@given(pools, st.lists(balancers, max_size=2, unique_by=lambda each: each.name), st.data())
def test_there_and_back(
    members: list[Node], said: list[BalancerSettings], data: st.DataObject
) -> None:
    passing = {("idp", node.name) for node in members if data.draw(st.booleans())}
    state = decode(Encoder().encode(snapshot(*members, balancers=tuple(said)), passing))
    joined = [node for node in members if node.source is not Source.CONFIG]
    assert state.nodes == tuple(
        SavedNode(
            node.pool, node.name, node.route, node.source, node.scheme, node.host, node.port,  # type: ignore[arg-type]
            node.weight, node.tls.server_name, node.addresses, node.reported, node.virtual_hosts,
            node.balancer, node.domain, node.tuning,
        )
        for node in joined
    )  # fmt: skip
    assert state.balancers == tuple(SavedBalancer("idp", each) for each in said)
    assert state.commands == tuple(
        SavedCommand("idp", node.name, node.admin)
        for node in members
        if node.admin is not Admin.ENABLED and ("idp", node.name) not in passing
    )
    assert state.addresses == tuple(
        SavedAddresses("idp", node.name, node.host, node.addresses)
        for node in members
        if node.source is Source.CONFIG and node.addresses
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(pools, min_size=2, max_size=4))
def test_what_is_remembered_makes_no_difference(steps: list[list[Node]]) -> None:
    encoder = Encoder()
    for step in steps:
        assert encoder.encode(snapshot(*step), ()) == Encoder().encode(snapshot(*step), ())


def member(**more: Any) -> Node:
    node = Node("idp", "n1", "n1", "ajp", "10.0.0.1", 8009, source=Source.MCMP)
    return replace(node, **more)


def test_loads_and_health_are_no_reason_to_write() -> None:
    encoder = Encoder()
    before = encoder.encode(snapshot(member(load=5, health=Health.UP)), ())
    assert encoder.encode(snapshot(member(load=90, health=Health.DOWN, ejected=True)), ()) == before
    assert encoder.encode(snapshot(member(reported=Reported.STANDBY)), ()) != before


def test_nothing_secret_is_in_it() -> None:
    secret = member(secret_file="/etc/lbproxy/ajp.secret", tls=NodeTls(ca="/etc/lbproxy/ca.pem"))
    assert b"/etc/lbproxy" not in Encoder().encode(snapshot(secret), ())


def test_it_is_json_that_a_person_can_read() -> None:
    data = Encoder().encode(snapshot(member(), member(name="n2", route="n2")), ())
    assert json.loads(data)["version"] == 1
    lines = data.decode().splitlines()
    assert [line for line in lines if '"name":"n2"' in line]
    assert len(lines) == 5
    assert decode(Encoder().encode(snapshot(), ())) == SavedState()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no valid JSON"),
        (b"\xff\x00", "no valid JSON"),
        (b'{"format": "lbproxy state", "version": 1, "nod', "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[]", "not a state file"),
        (b'{"version": 1}', "not a state file"),
        (b'{"format": "lbproxy state"}', "of version None; this lbproxy knows version 1"),
        (b'{"format": "lbproxy state", "version": 2}', "of version 2; this lbproxy knows"),
        (b'{"format": "lbproxy state", "version": 1, "nodes": 7}', "nodes: "),
        (b'{"format": "lbproxy state", "version": 1, "nodes": [{}]}', "nodes.0.pool: "),
    ],
)
def test_what_is_no_state(data: bytes, words: str) -> None:
    with pytest.raises(BadState) as caught:
        decode(data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a b"),
        ("name", ""),
        ("name", "n" * 1025),
        ("route", "a;b"),
        ("source", "moon"),
        ("scheme", "ftp"),
        ("host", ""),
        ("port", 0),
        ("port", 65536),
        ("weight", 0),
        ("addresses", ["node1"]),
        ("virtual_hosts", [{"aliases": 5}]),
        ("tuning", {"ttl_s": "soon"}),
    ],
)
def test_a_node_that_cannot_be(key: str, value: object) -> None:
    document = json.loads(Encoder().encode(snapshot(member()), ()))
    document["nodes"][0][key] = value
    with pytest.raises(BadState) as caught:
        decode(json.dumps(document).encode())
    assert str(caught.value).startswith(f"nodes.0.{key}")


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | text, st.lists, max_leaves=5))
def test_no_content_is_a_fault(value: object) -> None:
    base = json.loads(Encoder().encode(snapshot(member()), ()))
    for key in base["nodes"][0]:
        document = json.loads(json.dumps(base))
        document["nodes"][0][key] = value
        with contextlib.suppress(BadState):
            decode(json.dumps(document).encode())
