"""What becomes of virtual hosts and contexts when a node says something of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.contexts import (
    Context,
    ContextState,
    Hosts,
    VirtualHost,
    count_aliases,
    count_contexts,
    covers,
    may_lack,
    remove_contexts,
    set_contexts,
    set_every_context,
)

ENABLED, DISABLED, STOPPED = ContextState.ENABLED, ContextState.DISABLED, ContextState.STOPPED


def host(aliases: str, **contexts: ContextState) -> VirtualHost:
    """A host of aliases between spaces; a context's name without its slash."""
    return VirtualHost(
        tuple(aliases.split()),
        tuple(Context(f"/{path}", state) for path, state in contexts.items()),
    )


@pytest.mark.parametrize("state", ContextState)
def test_a_context_comes_into_being_in_any_state(state: ContextState) -> None:
    assert set_contexts((), ["h"], ["/a"], state) == (host("h", a=state),)


@pytest.mark.parametrize("before", ContextState)
@pytest.mark.parametrize("after", ContextState)
def test_every_transition_is_allowed(before: ContextState, after: ContextState) -> None:
    hosts = (host("h", a=before, b=ENABLED),)
    assert set_contexts(hosts, ["h"], ["/a"], after) == (host("h", a=after, b=ENABLED),)


def test_one_alias_in_common_is_enough_in_any_case_and_order() -> None:
    hosts = (host("other", x=ENABLED), host("Default-Host localhost", a=ENABLED))
    changed = set_contexts(hosts, ["LOCALHOST", "new"], ["/b"], DISABLED)
    assert changed == (
        host("other", x=ENABLED),
        VirtualHost(
            ("Default-Host", "localhost", "LOCALHOST", "new"),
            (Context("/a", ENABLED), Context("/b", DISABLED)),
        ),
    )


def test_spellings_stay_as_they_came() -> None:
    hosts = set_contexts((), ["Default-Host", "localhost"], ["/"], ENABLED)
    again = set_contexts(hosts, ["localhost", "Default-Host"], ["/"], ENABLED)
    assert again == hosts


def test_nothing_in_common_makes_another_host() -> None:
    hosts = (host("h", a=ENABLED),)
    assert set_contexts(hosts, ["i"], ["/a"], STOPPED) == (*hosts, host("i", a=STOPPED))


def test_aliases_that_join_two_hosts_make_them_one() -> None:
    hosts = (
        host("h", a=ENABLED, x=STOPPED),
        host("mid", m=ENABLED),
        host("i", a=STOPPED, b=ENABLED),
    )
    assert set_contexts(hosts, ["i", "h"], ["/c"], DISABLED) == (
        host("h i", a=ENABLED, x=STOPPED, b=ENABLED, c=DISABLED),
        host("mid", m=ENABLED),
    )


def test_a_host_goes_with_its_last_context() -> None:
    hosts = (host("h", a=ENABLED, b=ENABLED), host("i", a=ENABLED))
    without = remove_contexts(hosts, ["H"], ["/a"])
    assert without == (host("h", b=ENABLED), host("i", a=ENABLED))
    assert remove_contexts(without, ["h"], ["/b", "/c"]) == (host("i", a=ENABLED),)


def test_what_is_not_there_is_removed_already() -> None:
    hosts = (host("h", a=ENABLED),)
    assert remove_contexts(hosts, ["h"], ["/b"]) == hosts
    assert remove_contexts(hosts, ["i"], ["/a"]) == hosts
    assert remove_contexts((), ["i"], ["/a"]) == ()


def test_every_context_at_once() -> None:
    hosts = (host("h", a=ENABLED, b=DISABLED), host("i", a=STOPPED))
    assert set_every_context(hosts, STOPPED) == (host("h", a=STOPPED, b=STOPPED), hosts[1])
    assert set_every_context((), ENABLED) == ()


names = st.lists(st.sampled_from("aAbBcCd"), min_size=1, max_size=3)
steps = st.lists(
    st.tuples(names, st.lists(st.sampled_from(["/", "/a", "/b"]), min_size=1, max_size=2)).flatmap(
        lambda each: st.tuples(st.just(each), st.sampled_from([None, *ContextState]))
    ),
    max_size=20,
)


@given(steps)
def test_an_alias_is_in_one_host_and_a_context_once_in_a_host(
    told: list[tuple[tuple[list[str], list[str]], ContextState | None]],
) -> None:
    hosts: Hosts = ()
    for (aliases, paths), state in told:
        if state is None:
            hosts = remove_contexts(hosts, aliases, paths)
        else:
            hosts = set_contexts(hosts, aliases, paths, state)
            assert set_contexts(hosts, aliases, paths, state) == hosts
            (home,) = [each for each in hosts if aliases[0] in each.aliases]
            assert {Context(path, state) for path in paths} <= set(home.contexts)
        folded = [{alias.casefold() for alias in each.aliases} for each in hosts]
        assert sum(map(len, folded)) == len(set().union(*folded))
        for each in hosts:
            assert each.contexts
            assert len({context.path for context in each.contexts}) == len(each.contexts)
        assert count_contexts(hosts) == sum(len(each.contexts) for each in hosts)
        assert count_aliases(hosts) >= len(hosts)


@pytest.mark.parametrize(
    ("hosts", "enough"),
    [
        ((host("h i", a=ENABLED, b=STOPPED), host("j", a=ENABLED)), True),
        ((host("x I", b=DISABLED, a=ENABLED, c=ENABLED), host("J", a=STOPPED)), True),
        ((host("h i", a=ENABLED, b=STOPPED),), False),
        ((host("h i", a=ENABLED), host("j", a=ENABLED, b=ENABLED)), False),
        ((host("x", a=ENABLED, b=ENABLED), host("j", a=ENABLED)), False),
        ((), False),
    ],
)
def test_whether_all_is_there_that_was_there_before(hosts: Hosts, enough: bool) -> None:
    before = (host("h i", a=ENABLED, b=DISABLED), host("j", a=ENABLED))
    assert covers(hosts, before) is enough
    assert covers(hosts, ())


@pytest.mark.parametrize(
    ("hosts", "lacks"),
    [
        ((), True),  # as a node does that took over what it was told
        ((host("h i", b=ENABLED),), True),
        ((host("h i", a=STOPPED),), True),  # of what was enabled it says what it stopped
        ((host("h i", a=ENABLED),), False),  # it would not say that, had it taken over anything
        ((host("h x", a=ENABLED, c=ENABLED),), False),
    ],
)
def test_whether_a_node_may_have_left_something_out(hosts: Hosts, lacks: bool) -> None:
    before = (host("h i", a=ENABLED, b=DISABLED), host("j", a=ENABLED))
    assert may_lack(hosts, before) is lacks
    assert not may_lack(hosts, ())
    assert not may_lack(hosts, (host("h i", a=DISABLED),))  # that is said anew anyway


def test_a_node_that_keeps_its_only_host_left_nothing_out() -> None:
    before = (host("h i", a=ENABLED),)
    assert not may_lack((host("i h", c=ENABLED),), before)
    assert may_lack((host("H i", c=ENABLED),), before)
