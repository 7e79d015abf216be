"""What INFO and DUMP tell of nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbproxy.cluster.contexts import BalancerSettings, Context, ContextState, VirtualHost
from lbproxy.cluster.node import Health, Node, Reported, Source, Tuning
from lbproxy.cluster.stats import NodeStats, PoolStats, WorkerStats
from lbproxy.control.mcmp.report import McmpReports, balancer_records, told_hosts
from lbproxy.wire.mcmp import AnnouncedBalancer, AnnouncedNode
from lbproxy.wire.mcmp_info import HostRecord, NodeRecord, info_pieces, join_info
from tests.java_node import parse_info

KC1 = Node(
    *("idp", "kc1", "kc1", "https", "10.0.0.9", 8443),
    source=Source.MCMP,
    health=Health.UP,
    load=88,
    reported=Reported.ACTIVE,
    virtual_hosts=(VirtualHost(("H", "i"), (Context("/a", ContextState.DISABLED),)),),
    balancer="b",
    domain="east",
    tuning=Tuning(7.0, 5.0, 3, 30.0, "auto", 2),
)


def test_a_record_holds_what_the_node_said() -> None:
    assert McmpReports().records((KC1,)) == [
        NodeRecord(
            number=1,
            node=AnnouncedNode(
                *("kc1", "east", "10.0.0.9", 8443, "https", "auto", 2, 5.0, 3, 30.0, 7.0)
            ),
            balancer="b",
            load=88,
            hosts=(HostRecord(("H", "i"), (("/a", "DISABLED"),)),),
        )
    ]


def test_info_tells_what_was_counted() -> None:
    counters = NodeStats(codes=[0, 0, 30, 5, 0, 1], in_flight=4)
    stats = WorkerStats(pools={"idp": PoolStats(nodes={"kc1": counters})})
    body = McmpReports().info((KC1,), stats)
    assert ",Elected: 40,Read: 0,Transfered: 0,Connected: 4,Load: 88\n" in body
    body = McmpReports().info((KC1,), WorkerStats())
    assert ",Elected: 0,Read: 0,Transfered: 0,Connected: 0,Load: 88\n" in body


@pytest.mark.parametrize(
    ("more", "load"),
    [
        ({}, 88),
        ({"reported": Reported.STANDBY, "load": None}, 0),
        ({"reported": Reported.BROKEN, "load": None}, -1),
        ({"reported": Reported.AWAITED, "load": None}, -1),
        ({"health": Health.DOWN}, -1),
        ({"quarantined": True}, -1),
    ],
)
def test_loads(more: dict[str, object], load: int) -> None:
    node = replace(KC1, **more)  # type: ignore[arg-type]
    (record,) = McmpReports().records((node,))
    assert record.load == load


def numbers(reports: McmpReports, *routes: str) -> list[int]:
    nodes = tuple(replace(KC1, route=route, name=route) for route in routes)
    return [record.number for record in reports.records(nodes)]


def test_a_number_is_a_nodes_own_while_it_is_there() -> None:
    reports = McmpReports()
    assert numbers(reports, "a", "b") == [1, 2]
    assert numbers(reports, "b", "c") == [2, 3]
    assert numbers(reports, "a", "c", "b") == [4, 3, 2]


def told_anew(reports: McmpReports, nodes: tuple[Node, ...], in_flight: int) -> str:
    """Return INFO made from the beginning. Args: in_flight: of kc1; the others have nothing."""
    return join_info(
        [
            (
                info_pieces(record),
                *((in_flight, in_flight) if record.node.route == "kc1" else (0, 0)),
            )
            for record in reports.records(nodes)
        ]
    )


def test_info_is_the_same_whether_it_was_told_before_or_not() -> None:
    reports = McmpReports()
    counters = NodeStats()
    stats = WorkerStats(pools={"idp": PoolStats(nodes={"kc1": counters})})
    odd = replace(KC1, route="odd", name="odd", domain="é")
    other = replace(KC1, route="b", name="b", port=9)
    for nodes in (
        (KC1,),
        (KC1, odd, other),
        (replace(KC1, load=7), odd, other),
        (other,),
        (replace(other, virtual_hosts=()), KC1),
    ):
        counters.in_flight += 1
        body = reports.info(nodes, stats)
        assert body == told_anew(reports, nodes, counters.in_flight)
        assert reports.info(nodes, stats) == body
        assert set(parse_info(body)) == {node.route for node in nodes}


@pytest.mark.parametrize(
    ("host", "known_again"),
    [
        (VirtualHost(("h", "i"), (Context("/a", ContextState.ENABLED),)), True),
        (VirtualHost(("h", "bücher.example"), (Context("/a", ContextState.ENABLED),)), False),
        (VirtualHost(("h",), (Context("/größe", ContextState.ENABLED),)), False),
    ],
)
def test_a_node_knows_its_own_names_again(host: VirtualHost, known_again: bool) -> None:
    node = replace(KC1, virtual_hosts=(host,))
    assert told_hosts(node) == ((host,) if known_again else ())
    (read,) = parse_info(McmpReports().info((node,), WorkerStats()))["kc1"]
    assert ("h" in read.aliases) is known_again
    assert len(read.contexts) == 1


def test_balancers_are_told_as_they_were_announced() -> None:
    settings = BalancerSettings("b", False, "C", "p", True, False, 3.0, 2)
    assert balancer_records([settings]) == [
        AnnouncedBalancer("b", False, "C", "p", True, False, 3.0, 2)
    ]


def test_nothing_is_told_of_nobody() -> None:
    assert McmpReports().records(()) == []
    assert McmpReports().info((), WorkerStats()) == ""
