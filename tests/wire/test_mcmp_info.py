"""INFO and DUMP: the reference's example line by line, and what the Java node makes of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.mcmp import AnnouncedBalancer, AnnouncedNode
from lbproxy.wire.mcmp_info import (
    MAX_LISTED,
    HostRecord,
    NodeRecord,
    info_pieces,
    join_info,
    render_dump,
)
from tests.java_node import parse_info

KC1 = NodeRecord(
    number=1,
    node=AnnouncedNode("kc1", domain="east", host="192.0.2.21", port=8080, scheme="http"),
    balancer="mycluster",
    load=88,
    hosts=(HostRecord(("default-host", "localhost"), (("/", "ENABLED"), ("/auth", "DISABLED"))),),
)


def info(records: list[NodeRecord]) -> str:
    """Return INFO of nodes that were chosen 41 times, and have two requests."""
    return join_info([(each, 41, 2) for each in map(info_pieces, records)])


def test_info_is_as_in_the_reference() -> None:
    assert info([KC1]) == (
        "Node: [1],Name: kc1,Balancer: mycluster,LBGroup: east,Host: 192.0.2.21,Port: 8080,"
        "Type: http,Flushpackets: Off,Flushwait: 10,Ping: 10,Smax: -1,Ttl: 60,Elected: 41,"
        "Read: 0,Transfered: 0,Connected: 2,Load: 88\n"
        "Vhost: [1:1:1], Alias: default-host\n"
        "Vhost: [1:1:2], Alias: localhost\n"
        "Context: [1:1:1], Context: /, Status: ENABLED\n"
        "Context: [1:1:2], Context: /auth, Status: DISABLED\n"
    )


def test_dump_is_as_in_the_reference() -> None:
    assert render_dump([AnnouncedBalancer(force=False)], [KC1]) == (
        "balancer: [1] Name: mycluster Sticky: 1 [JSESSIONID]/[jsessionid] remove: 0 force: 0 "
        "Timeout: 0 maxAttempts: 1\n"
        "node: [1:1],Balancer: mycluster,JVMRoute: kc1,LBGroup: [east],Host: 192.0.2.21,"
        "Port: 8080,Type: http,flushpackets: 0,flushwait: 10,ping: 10,smax: -1,ttl: 60,timeout: 0\n"
        "host: 1 [default-host] vhost: 1 node: 1\n"
        "host: 2 [localhost] vhost: 1 node: 1\n"
        "context: 1 [/] vhost: 1 node: 1 status: 1\n"
        "context: 2 [/auth] vhost: 1 node: 1 status: 2\n"
    )


def test_without_nodes_both_are_empty() -> None:
    assert info([]) == ""
    assert render_dump([], []) == ""


def test_a_literal_address_of_six_has_brackets() -> None:
    record = NodeRecord(3, AnnouncedNode("a", host="::1"), "b", -1)
    assert ",Host: [::1],Port: 8009," in info([record])
    assert ",Host: [::1],Port: 8009," in render_dump([], [record])


def test_nodes_that_have_much_to_say_keep_no_other_from_being_told_of() -> None:
    """INFO is the first thing that every node asks for, and it holds the answer in memory."""
    names = tuple(f"{number}{'x' * 250}" for number in range(100))
    paths = tuple((f"/{number}{'x' * 1000}", "ENABLED") for number in range(100))
    fat = [
        NodeRecord(number, AnnouncedNode(f"n{number}"), "b", 1, (HostRecord(names, paths),))
        for number in range(2, 102)
    ]
    for render in (info, lambda nodes: render_dump([], nodes)):
        body = render([KC1, *fat, replace(KC1, number=200, node=AnnouncedNode("last"))])
        assert MAX_LISTED / 2 < len(body) <= MAX_LISTED
        assert "kc1" in body
        assert "last" in body
        assert body.count("n2,") == 1
        assert "n101," not in body


def test_what_ascii_cannot_tell_is_quoted_and_hides_its_host_from_the_node() -> None:
    hosts = (
        HostRecord(("h", "bücher"), (("/a", "ENABLED"),)),
        HostRecord(("i",), (("/é", "STOPPED"), ("/b", "ENABLED"))),
        HostRecord(("j",), (("/c", "ENABLED"),)),
    )
    odd = NodeRecord(2, AnnouncedNode("b", domain="größe"), "x", 1, hosts)
    body = info([KC1, odd])
    assert ',LBGroup: "gr\\u00f6\\u00dfe",' in body
    assert 'Vhost: [2:1:1], Alias: "h"\nVhost: [2:1:2], Alias: "b\\u00fccher"\n' in body
    assert 'Context: [2:2:1], Context: "/\\u00e9", Status: STOPPED\n' in body
    assert "Vhost: [2:3:1], Alias: j\n" in body
    assert [sorted(host.aliases) for host in parse_info(body)["b"]] == [
        ['"b\\u00fccher"', '"h"'],
        ['"i"'],
        ["j"],
    ]
    dump = render_dump([AnnouncedBalancer(name="é")], [KC1, odd])
    assert dump.isascii()
    assert 'Name: "\\u00e9" Sticky' in dump
    assert 'LBGroup: ["gr\\u00f6\\u00dfe"]' in dump
    assert "[h] vhost: 1 node: 2" in dump
    assert '["b\\u00fccher"] vhost: 1 node: 2' in dump
    assert '["/\\u00e9"] vhost: 2 node: 2 status: 3' in dump


def test_what_is_quoted_takes_the_room_that_it_takes() -> None:
    names = tuple(f"{number}{'ü' * 250}" for number in range(100))
    fat = [
        NodeRecord(number, AnnouncedNode(f"n{number}"), "b", 1, (HostRecord(names, ()),))
        for number in range(100)
    ]
    for render in (info, lambda nodes: render_dump([], nodes)):
        assert MAX_LISTED / 2 < len(render(fat)) <= MAX_LISTED


# As they come out of a message: not blank at the edges, without what may break lines or strings.
NAMES = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"], exclude_characters="<>\"'\\"
    ),
    min_size=1,
    max_size=8,
).filter(lambda name: name == name.strip())
HOSTS = st.builds(
    HostRecord,
    st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple),
    st.lists(st.tuples(NAMES, st.sampled_from(["ENABLED", "DISABLED", "STOPPED"])), max_size=3).map(
        lambda contexts: tuple(dict(contexts).items())
    ),
)


@given(
    st.lists(
        st.tuples(st.text("abc.", min_size=1, max_size=5), st.lists(HOSTS, max_size=3).map(tuple)),
        max_size=4,
        unique_by=lambda each: each[0],
    )
)
def test_a_node_reads_back_what_it_announced(
    nodes: list[tuple[str, tuple[HostRecord, ...]]],
) -> None:
    records = [
        NodeRecord(number, AnnouncedNode(route), "b", 50, hosts)
        for number, (route, hosts) in enumerate(nodes, 1)
    ]
    body = info(records)
    assert body.isascii()
    read = parse_info(body)
    assert set(read) == {record.node.route for record in records}
    for record in records:
        for host, known in zip(record.hosts, read[record.node.route], strict=True):
            assert len(known.contexts) == len(host.contexts)
            assert len(known.aliases) == len(host.aliases)
            if host.tellable:
                assert known.aliases == set(host.aliases)
            else:
                assert not known.aliases & set(host.aliases)
