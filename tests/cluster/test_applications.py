"""Who serves which path: the longest context before its state, aliases, nodes without contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.applications import (
    Application,
    Surveyor,
    aliases,
    application,
    served,
)
from lbproxy.cluster.contexts import Context, ContextState, VirtualHost
from lbproxy.cluster.node import Admin, Health, Node, Reported
from lbproxy.proxy.nodes.serving import Table
from tests.hosting import STATES, host


def node(name: str, contexts: str | None = None, **more: object) -> Node:
    """Return a node that is up. Args: contexts: as `host`, None for every path."""
    made = Node("p", name, name, "http", "10.0.0.1", 1, health=Health.UP)
    hosts = None if contexts is None else (host(contexts),)
    return replace(made, virtual_hosts=hosts, **more)  # type: ignore[arg-type]


def find(
    nodes: Sequence[Node], path: str, names: Sequence[str] | None = None
) -> Application | None:
    """Return the application of a path, as a worker looks it up; None where there is none."""
    offers = Surveyor().offers(nodes, names)
    table = Table(None)
    table.replace(offers)
    context = table.find(path.encode())
    if context is None and not offers.everywhere:
        return None
    return application(offers, context, 0.0)


def names(nodes: Sequence[Node]) -> str:
    return " ".join(each.name for each in nodes)


def test_a_slash_at_the_end_of_a_context_means_nothing() -> None:
    assert served([host("/a/ /")], None) == {"/a": STATES[""], "/": STATES[""]}


def test_of_several_virtual_hosts_the_one_that_allows_most_counts() -> None:
    hosts = [host("/a! /b- /c", "one"), host("/a- /b! /c!", "two"), host("/a /c-", "three")]
    found = served(hosts, None)
    assert found == {"/a": STATES[""], "/b": STATES["-"], "/c": STATES[""]}
    assert served(hosts, {"two"}) == {"/a": STATES["-"], "/b": STATES["!"], "/c": STATES["!"]}
    assert served(hosts, {"four"}) == {}


def test_aliases_are_compared_in_any_case() -> None:
    assert served([host("/a", "IDP.Example.com")], {"idp.example.com"}) == {"/a": STATES[""]}
    assert aliases([node("n"), node("m", "/a")]) == {"default-host", "localhost"}
    assert aliases([replace(node("n"), virtual_hosts=(host("/", "A", "b:8080"),))]) == {
        "a",
        "b:8080",
    }


@pytest.mark.parametrize(
    ("nodes", "path", "new", "owned", "spares"),
    [
        ("a:/auth b:/auth", "/auth/x", "a b", "a b", ""),
        ("a:/auth b:/other", "/auth", "a", "a", ""),
        ("a:/auth- b:/auth", "/auth", "b", "a b", "a"),
        ("a:/auth! b:/auth", "/auth", "b", "b", ""),
        ("a:/auth! b:/", "/auth/x", "", "", ""),  # the longest context, before its state
        ("a:/auth!,/ b:/", "/x", "a b", "a b", ""),
        ("a:/auth b:*", "/auth", "a b", "a b", ""),  # who announces nothing serves every path
        ("a:/auth b:*", "/x", "b", "b", ""),
        ("a:/auth! b:*", "/auth", "b", "b", ""),
        ("a:/auth@D b:/auth", "/auth", "b", "a b", ""),  # admin: draining
        ("a:/auth@S b:/auth", "/auth", "b", "b", ""),
        ("a:/auth-@D b:/auth", "/auth", "b", "a b", ""),  # a spare takes over; it must not
        ("a:/auth!@D", "/auth", "", "", ""),
        ("a:/auth@d b:/auth-", "/auth", "a", "a b", "b"),  # panic: b takes no new ones even then
        ("a:/auth@d b:/auth", "/auth", "b", "b", ""),
        ("a:/auth@b b:/auth-", "/auth", "", "b", "b"),
        ("a:/auth@q", "/auth", "", "", ""),
        ("a:/auth@s b:/auth", "/auth", "b", "a b", ""),
        ("a:/auth@s b:/auth-", "/auth", "a", "a b", "b"),
    ],
)
def test_who_is_in_question(nodes: str, path: str, new: str, owned: str, spares: str) -> None:
    """`name:contexts`, `*` for every path; behind `@`: D draining, S stopped by command, d down,
    b broken, s standby, q in quarantine."""
    marks: dict[str, dict[str, object]] = {
        "D": {"admin": Admin.DRAINING},
        "S": {"admin": Admin.STOPPED},
        "d": {"health": Health.DOWN},
        "b": {"reported": Reported.BROKEN},
        "s": {"reported": Reported.STANDBY},
        "q": {"quarantined": True},
    }
    made = []
    for text in nodes.split():
        name, _, rest = text.partition(":")
        contexts, _, mark = rest.partition("@")
        more = marks[mark] if mark else {}
        made.append(node(name, None if contexts == "*" else contexts.replace(",", " "), **more))
    found = find(made, path)
    assert found is not None
    assert names(found.takes_new) == new
    assert names(found.takes_owned) == owned
    assert names(found.spares) == spares


def test_no_application() -> None:
    assert find([node("a", "/auth")], "/x") is None
    assert find([node("a", "")], "/") is None
    assert find([], "/") is None
    assert find([node("a")], "/x") is not None


def test_stopped_by_every_node() -> None:
    stopped = find([node("a", "/auth!"), node("b", "/auth!"), node("c", "/")], "/auth")
    assert stopped is not None
    assert stopped.stopped
    for nodes in ([node("a", "/auth!"), node("b", "/auth-")], [node("a", "/auth!"), node("b")]):
        some = find(nodes, "/auth")
        assert some is not None
        assert not some.stopped
    rest = find([node("b")], "/x")
    assert rest is not None
    assert not rest.stopped


def test_aliases_choose_the_virtual_hosts() -> None:
    made = [
        replace(node("a"), virtual_hosts=(host("/auth", "idp.example.com"), host("/", "other"))),
        replace(node("b"), virtual_hosts=(host("/auth! /", "IDP.example.com:8443"),)),
    ]
    first = find(made, "/auth", ["idp.example.com"])
    assert first is not None
    assert names(first.takes_new) == "a"
    both = find(made, "/x", ["idp.example.com", "idp.example.com:8443"])
    assert both is not None
    assert names(both.takes_new) == "b"
    assert find(made, "/x", ["idp.example.com"]) is None
    assert find(made, "/x", []) is None
    everywhere = find([*made, node("c")], "/x", [])
    assert everywhere is not None
    assert names(everywhere.takes_new) == "c"


def test_settings_of_all_its_nodes_hold() -> None:
    made = [
        node("a", "/auth!", balancer="one"),
        node("b", "/auth", balancer="two"),
        node("c", "/", balancer="three"),
    ]
    found = find(made, "/auth")
    assert found is not None
    assert found.balancers == {"one", "two"}


def test_what_a_node_announced_is_read_anew_when_it_changes() -> None:
    surveyor = Surveyor()
    before = node("a", "/auth")
    assert set(surveyor.offers([before], None).contexts) == {"/auth"}
    same = surveyor.offers([replace(before, load=3)], None)
    assert [(each.load, state) for each, state in same.contexts["/auth"]] == [(3, STATES[""])]
    after = surveyor.offers([replace(before, virtual_hosts=(host("/b!"),))], None)
    assert {path: state for path, ((_, state),) in after.contexts.items()} == {"/b": STATES["!"]}
    assert surveyor.offers([before], {"localhost"}).contexts.keys() == {"/auth"}
    assert surveyor.offers([before], {"x"}).contexts == {}


PATHS = ("/", "/a", "/a/b", "/b")
hosts = st.lists(
    st.builds(
        VirtualHost,
        st.tuples(st.sampled_from(["x", "y"])),
        st.lists(
            st.builds(Context, st.sampled_from(PATHS), st.sampled_from(ContextState)), max_size=4
        ).map(tuple),
    ),
    max_size=2,
).map(tuple)
nodes = st.lists(
    st.builds(
        replace,
        st.just(node("n")),
        name=st.sampled_from("abcdef"),
        virtual_hosts=st.none() | hosts,
        health=st.sampled_from(Health),
        admin=st.sampled_from(Admin),
        reported=st.sampled_from(Reported),
        quarantined=st.booleans(),
        ejected=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda each: each.name,
)


@given(nodes=nodes, path=st.sampled_from([*PATHS, "/a/b/c", "/c", "/a/c"]), named=st.booleans())
def test_no_node_beyond_what_it_announced(nodes: list[Node], path: str, named: bool) -> None:
    wanted = {"x"} if named else None
    found = find(nodes, path, ["x"] if named else None)
    known = {
        (each.name, context.path): context.state
        for each in nodes
        for each_host in each.virtual_hosts or ()
        if wanted is None or set(each_host.aliases) & wanted
        for context in sorted(each_host.contexts, key=lambda one: -len(one.state.value))
    }
    longest = max(
        (
            context
            for _, context in known
            if path == context or context == "/" or path.startswith(context + "/")
        ),
        key=len,
        default=None,
    )
    if found is None:
        assert longest is None
        assert all(each.virtual_hosts is not None for each in nodes)
        return
    for each in (*found.takes_new, *found.takes_owned, *found.spares):
        assert not each.quarantined
        assert each.reported not in (Reported.AWAITED, Reported.BROKEN)
        assert each.admin is not Admin.STOPPED
    for each in found.takes_new:
        assert each.admin is Admin.ENABLED
        if each.virtual_hosts is not None:
            assert longest is not None
            states = _states(each, longest, wanted)
            assert ContextState.ENABLED in states
    for each in found.takes_owned:
        if each.virtual_hosts is not None:
            assert longest is not None
            assert _states(each, longest, wanted) - {ContextState.STOPPED}
    assert {each.name for each in found.spares} <= {each.name for each in found.takes_owned}
    assert not {each.name for each in found.spares} & {each.name for each in found.takes_new}


def _states(each: Node, path: str, wanted: set[str] | None) -> set[ContextState]:
    return {
        context.state
        for each_host in each.virtual_hosts or ()
        if wanted is None or set(each_host.aliases) & wanted
        for context in each_host.contexts
        if context.path == path
    }
