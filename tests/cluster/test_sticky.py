"""Affinity finds owners in every provider's cookies, and says why where it finds none."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproxy.config.schema import OwnCookieSettings, StickySettings, StickyStep

UUID = b"f2b4c1f0-6f7c-4d2e-9f51-0a8d1c5a8f10"
# base64url(<id> "." base64url(signature)) "." <node>: the part before the dot holds no dot.
SIGNED = urlsafe_b64encode(UUID + b"." + urlsafe_b64encode(b"\x07" * 64)).rstrip(b"=")
KEY = b"k" * 32

Build = Callable[..., Any]


@pytest.fixture(scope="session")
def member(form: str, balance: ModuleType) -> Callable[[str], Any]:
    return lambda route: balance.Member(f"name-{route}", route.encode())


@pytest.fixture(scope="session")
def build(sticky: ModuleType, member: Callable[[str], Any]) -> Build:
    def affinity(*routes: str, by: tuple[str, ...] = ("route",), **more: Any) -> Any:
        steps = tuple(StickyStep(step) for step in by)
        made = sticky.Affinity(StickySettings(by=steps, cookie="S", **more), "idp", KEY)
        made.replace([member(route) for route in routes])
        return made

    return affinity


def told(sticky: ModuleType, verdict: Any) -> tuple[str | None, str, str]:
    owner = verdict.member.route.decode() if verdict.member is not None else None
    return owner, sticky.STEP_NAMES[verdict.step], sticky.RESULT_NAMES[verdict.result]


def test_names_are_those_of_the_metrics(sticky: ModuleType) -> None:
    assert sticky.RESULT_NAMES == ("owner", "new", "failover", "unknown_route")
    assert sticky.STEP_NAMES == ("route", "path_parameter", "learned", "own_cookie", "hash")
    assert (sticky.N_STEPS, sticky.N_RESULTS) == (5, 4)


ROUTES = ("node1", "node2", "a.b", "b", "kc-7d689bc47-2bnxk-52027")


@pytest.mark.parametrize(
    ("value", "owner"),
    [
        (UUID + b".node1", "node1"),
        (SIGNED + b".node2", "node2"),
        (SIGNED + b".kc-7d689bc47-2bnxk-52027", "kc-7d689bc47-2bnxk-52027"),
        (UUID + b"." + b"c2lnbmF0dXJl" + b".node2", "node2"),  # id.signature.route
        (UUID + b".sig.more.node1", "node1"),
        (b"id.a.b", "a.b"),  # the longer remainder comes first
        (b"id.x.a.b", "a.b"),
        (b"id.b", "b"),
        (b"id.node1.gone", "node1"),  # ranked, the last one unknown
        (b"id.node1.node2", "node1"),  # ranked: the first one is tried first
        (b"id.x.b.node1", "b"),
        (b"id.b.a.b", "b"),
        (b"id..node1", "node1"),
        (b"id.gone.node2.gone2", "node2"),
        (b"id.gone.node1", "node1"),
        (b'"' + UUID + b'.node1"', "node1"),
        (b"id.xnode1", None),  # a route is compared whole
        (b"id.node1x", None),
        (b"id.node", None),
        (b"node1", None),
        (b"node1.", None),
        (b"id.NODE1", None),
        (b'"', None),
        (b'"id.node1', "node1"),
        (b'id.node1"', None),
        (b"x." * 15 + b"node1", "node1"),
        (b"x." * 17 + b"node1", None),  # too many dots to be honest
        (b"x." * 20 + b"node1.x", None),
        (b"." * 60_000 + b"node1", None),
    ],
)
def test_route_of_a_value(
    sticky: ModuleType, build: Build, value: bytes, owner: str | None
) -> None:
    verdict = build(*ROUTES).decide(0.0, [value], None, None)
    assert told(sticky, verdict)[0] == owner
    assert told(sticky, verdict)[2] == (
        "owner" if owner else "unknown_route" if b"." in value.strip(b'"')[:-1] else "new"
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    routes=st.sets(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=5),
    value=st.text("ab.", max_size=12),
)
def test_at_each_dot_the_remainder_then_the_part_and_the_first_route_wins(
    sticky: ModuleType, build: Build, routes: set[str], value: str
) -> None:
    affinity = build(*sorted(routes))
    found = affinity.decide(0.0, [value.encode()], None, None)
    parts = value.split(".")
    named = [
        name for index in range(1, len(parts)) for name in (".".join(parts[index:]), parts[index])
    ]
    wanted = next((route for route in named if route in routes), None)
    assert told(sticky, found)[0] == wanted


@pytest.mark.parametrize(
    ("values", "owner", "result"),
    [
        ([], None, "new"),
        ([b"id.node1", b"id.node2"], "node1", "owner"),
        ([b"id.unknown", b"id.node2"], "node2", "owner"),
        ([b"noroute", b"id.node2"], "node2", "owner"),
        ([b"id.stopped", b"id.node2"], "node2", "owner"),
        ([b"id.unknown", b"id.stopped"], None, "failover"),
        ([b"id.stopped"], None, "failover"),
        ([b"id.unknown"], None, "unknown_route"),
        ([b"id"], None, "new"),
        ([b"x"] * 40 + [b"id.node1"], None, "new"),  # too many to be honest
    ],
)
def test_several_cookies(
    sticky: ModuleType,
    build: Build,
    member: Callable[[str], Any],
    values: list[bytes],
    owner: str | None,
    result: str,
) -> None:
    affinity = build()
    stopped = member("stopped")
    stopped.takes_owned = False
    affinity.replace([member("node1"), member("node2"), stopped])
    assert told(sticky, affinity.decide(0.0, values, None, None)) == (owner, "route", result)


def test_ranked_routes_go_on_behind_one_that_cannot(
    sticky: ModuleType, build: Build, member: Callable[[str], Any]
) -> None:
    affinity = build()
    stopped = member("n1")
    stopped.takes_owned = False
    affinity.replace([stopped, member("n2"), member("n3")])
    verdict = affinity.decide(0.0, [b"id.n1.n2.n3"], None, None)
    assert told(sticky, verdict) == ("n2", "route", "owner")


def test_nothing_sent_is_new_by_the_first_step(sticky: ModuleType, build: Build) -> None:
    verdict = build("a", by=("learned", "route")).decide(0.0, None, None, None)
    assert told(sticky, verdict) == (None, "learned", "new")
    assert verdict.session is None


def test_draining_keeps_its_sessions(
    sticky: ModuleType, build: Build, member: Callable[[str], Any]
) -> None:
    affinity = build()
    draining = member("a")
    draining.takes_new = False
    affinity.replace([draining, member("b")])
    assert told(sticky, affinity.decide(0.0, [b"id.a"], None, None)) == ("a", "route", "owner")


def test_a_vanished_owner_is_failover_until_it_is_forgotten(
    sticky: ModuleType, build: Build, member: Callable[[str], Any]
) -> None:
    affinity = build("a", "b")
    affinity.replace([member("b")])
    gone = affinity.decide(0.0, [b"id.sig.a"], None, None)
    assert told(sticky, gone) == (None, "route", "failover")
    affinity.replace([member("a"), member("b")])
    back = affinity.decide(0.0, [b"id.a"], None, None)
    assert told(sticky, back) == ("a", "route", "owner")
    affinity.replace([member("b")])
    for number in range(sticky.MAX_FORMER + 1):
        affinity.replace([member(f"other{number}")])
    late = affinity.decide(0.0, [b"id.a"], None, None)
    assert told(sticky, late) == (None, "route", "unknown_route")


def test_path_parameter_comes_as_its_own_step(sticky: ModuleType, build: Build) -> None:
    affinity = build("a", "b", by=("route", "path_parameter"), path_parameter="jsessionid")
    by_path = affinity.decide(0.0, None, None, [b"id.b"])
    assert told(sticky, by_path) == ("b", "path_parameter", "owner")
    assert by_path.session == b"id.b"
    both = affinity.decide(0.0, [b"id.a"], None, [b"id.b"])
    assert told(sticky, both) == ("a", "route", "owner")


def test_the_first_reason_is_told(
    sticky: ModuleType, build: Build, member: Callable[[str], Any]
) -> None:
    affinity = build("a", "b", by=("path_parameter", "route"), path_parameter="p")
    affinity.replace([member("b")])
    verdict = affinity.decide(0.0, [b"id.a"], None, [b"id.unknown"])
    assert told(sticky, verdict) == (None, "route", "failover")


class TestApplications:
    """Where nodes announce what they serve, it is told who can be an owner."""

    @pytest.fixture
    def nodes(self, member: Callable[[str], Any]) -> dict[str, Any]:
        return {route: member(route) for route in ("a", "b", "c")}

    @pytest.mark.parametrize("by", ["route", "path_parameter", "learned", "own_cookie"])
    def test_only_who_serves_it_is_an_owner(
        self, sticky: ModuleType, build: Build, nodes: dict[str, Any], by: str
    ) -> None:
        affinity = build(by=(by,), path_parameter="p")
        affinity.replace(list(nodes.values()))
        affinity.learn(b"id.a", nodes["a"])
        affinity.learn(b"id.b", nodes["b"])
        sent = {
            "own_cookie": (None, [own_value("name-a"), own_value("name-b")], None),
            "path_parameter": (None, None, [b"id.a", b"id.b"]),
        }.get(by, ([b"id.a", b"id.b"], None, None))
        nodes["b"].takes_owned = False  # of the pool; not asked where an application is
        found = affinity.decide(0.0, *sent, {nodes["b"]: None})
        assert told(sticky, found) == ("b", by, "owner")
        lost = affinity.decide(0.0, *sent, {nodes["c"]: None})
        assert told(sticky, lost) == (None, by, "failover")
        assert lost.lost

    def test_the_hash_falls_on_who_serves_it(self, build: Build, nodes: dict[str, Any]) -> None:
        affinity = build(by=("hash",))
        affinity.replace(list(nodes.values()))
        owners = {nodes["a"]: None, nodes["c"]: None}
        found = {
            affinity.decide(0.0, [b"s%d" % number], None, None, owners).member.name
            for number in range(40)
        }
        assert found == {"name-a", "name-c"}

    def test_the_first_lost_owner_is_told_with_its_domain(
        self, build: Build, nodes: dict[str, Any]
    ) -> None:
        nodes["a"].domain, nodes["a"].balancer = "east", "one"
        nodes["b"].domain = "west"
        affinity = build()
        affinity.replace(list(nodes.values()))
        lost = affinity.decide(0.0, [b"id.x", b"id.a", b"id.b"], None, None, {})
        assert (lost.lost, lost.domain, lost.balancer) == (True, "east", "one")
        new = affinity.decide(0.0, [b"id.x"], None, None, {})
        assert not new.lost

    def test_the_domain_of_an_owner_that_left_is_remembered_for_a_while(
        self, sticky: ModuleType, build: Build, nodes: dict[str, Any]
    ) -> None:
        nodes["a"].domain, nodes["a"].balancer = "east", "one"
        affinity = build()
        affinity.replace(list(nodes.values()), 100.0)
        affinity.replace([nodes["c"]], 200.0)
        soon = affinity.decide(200.0 + sticky.FORMER_S - 1, [b"id.a"], None, None)
        assert (soon.lost, soon.domain, soon.balancer) == (True, "east", "one")
        late = affinity.decide(200.0 + sticky.FORMER_S + 1, [b"id.a"], None, None)
        assert told(sticky, late) == (None, "route", "failover")
        assert not late.lost  # as good as unknown: it may go anywhere
        without = affinity.decide(200.0, [b"id.b"], None, None)
        assert told(sticky, without) == (None, "route", "failover")
        assert not without.lost

    def test_who_does_not_want_its_routes_looked_at(
        self, sticky: ModuleType, build: Build, nodes: dict[str, Any]
    ) -> None:
        affinity = build()
        affinity.replace(list(nodes.values()))
        nodes["a"].sticky = False
        affinity.replace(list(nodes.values()))
        verdict = affinity.decide(0.0, [b"id.a"], None, None)
        assert told(sticky, verdict) == (None, "route", "unknown_route")
        assert not verdict.lost

    @pytest.mark.parametrize(
        ("by", "steps"),
        [
            (("own_cookie",), ("own_cookie", "route", "path_parameter")),
            (("learned", "hash"), ("learned", "route", "path_parameter", "hash")),
            (("path_parameter",), ("path_parameter", "route")),
            (("route", "hash", "path_parameter"), ("route", "hash", "path_parameter")),
        ],
    )
    def test_announced_routes_are_looked_at_whatever_is_configured(
        self,
        sticky: ModuleType,
        build: Build,
        nodes: dict[str, Any],
        by: tuple[str, ...],
        steps: tuple[str, ...],
    ) -> None:
        affinity = build(by=by, path_parameter="p")
        affinity.replace(list(nodes.values()))
        before = told(sticky, affinity.decide(0.0, [b"id.a"], None, [b"id.b"]))
        affinity.follow_announced(True)
        by_cookie = affinity.decide(0.0, [b"id.a"], None, None)
        by_path = affinity.decide(0.0, None, None, [b"id.b"])
        if "hash" not in steps or steps.index("route") < steps.index("hash"):
            assert told(sticky, by_cookie) == ("a", "route", "owner")
        if "hash" not in steps or steps.index("path_parameter") < steps.index("hash"):
            assert told(sticky, by_path) == ("b", "path_parameter", "owner")
        affinity.follow_announced(False)
        assert told(sticky, affinity.decide(0.0, [b"id.a"], None, [b"id.b"])) == before


class TestLearned:
    def test_owner_by_session_id(
        self, sticky: ModuleType, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a", "b", by=("learned",))
        affinity.learn(b'"7A1B"', member("b"))
        found = affinity.decide(0.0, [b"other", b"7A1B"], None, None)
        assert told(sticky, found) == ("b", "learned", "owner")
        assert found.session == b"other"
        unknown = affinity.decide(0.0, [b"id.with.dots"], None, None)
        assert told(sticky, unknown) == (None, "learned", "new")
        affinity.replace([member("a")])
        gone = affinity.decide(0.0, [b"7A1B"], None, None)
        assert told(sticky, gone) == (None, "learned", "failover")

    def test_least_recently_used_goes_first(
        self, sticky: ModuleType, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a", by=("learned",), learned={"entries": 3})
        for value in (b"1", b"2", b"3"):
            affinity.learn(value, member("a"))
        affinity.decide(0.0, [b"1"], None, None)
        affinity.learn(b"4", member("a"))
        known = [
            value
            for value in (b"1", b"2", b"3", b"4")
            if affinity.decide(0.0, [value], None, None).member is not None
        ]
        assert known == [b"1", b"3", b"4"]

    def test_long_values_and_deleted_cookies(
        self, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a", by=("learned",))
        affinity.learn(b"x" * 4000, member("a"))
        affinity.learn(b"", member("a"))
        assert affinity.decide(0.0, [b"x" * 4000], None, None).member is not None
        assert affinity.decide(0.0, [b"x" * 3999], None, None).member is None
        assert affinity.decide(0.0, [b""], None, None).member is None

    def test_nothing_is_kept_where_the_step_is_not_configured(
        self, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a", by=("route",))
        affinity.learn(b"7A1B", member("a"))
        assert affinity.decide(0.0, [b"7A1B"], None, None).member is None


def own_value(name: str, pool: str = "idp", key: bytes = KEY) -> bytes:
    signed = hmac.new(key, f"{pool}\0{name}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(signed[:18])


class TestOwnCookie:
    @pytest.mark.parametrize(
        ("same_site", "secure", "attributes"),
        [
            ("none", True, b"; Path=/; HttpOnly; Secure; SameSite=None"),
            ("none", False, b"; Path=/; HttpOnly; SameSite=Lax"),
            ("lax", True, b"; Path=/; HttpOnly; Secure; SameSite=Lax"),
            ("strict", False, b"; Path=/; HttpOnly; SameSite=Strict"),
        ],
    )
    def test_header(
        self,
        build: Build,
        member: Callable[[str], Any],
        same_site: str,
        secure: bool,
        attributes: bytes,
    ) -> None:
        own = OwnCookieSettings.model_validate({"name": "WHO", "same_site": same_site})
        affinity = build("a", "b", by=("own_cookie",), own_cookie=own)
        for _ in range(2):
            line = affinity.own_cookie_header(member("b"), secure)
            assert line == b"Set-Cookie: WHO=" + own_value("name-b") + attributes + b"\r\n"
        gone = affinity.own_cookie_header(member("gone"), secure)
        assert own_value("name-gone") in gone

    def test_it_names_its_member_and_cannot_be_made_up(
        self, sticky: ModuleType, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a", "b", by=("own_cookie",))
        right = affinity.decide(0.0, None, [b"old", own_value("name-b")], None)
        assert told(sticky, right) == ("b", "own_cookie", "owner")
        for value in (
            own_value("name-b", pool="other"),
            own_value("name-b", key=b"guess"),
            b"name-b",
        ):
            forged = affinity.decide(0.0, None, [value], None)
            assert told(sticky, forged) == (None, "own_cookie", "unknown_route")
        affinity.replace([member("a")])
        gone = affinity.decide(0.0, None, [own_value("name-b")], None)
        assert told(sticky, gone) == (None, "own_cookie", "failover")

    @pytest.mark.parametrize(
        ("cookies", "own", "served", "needed"),
        [
            (None, None, "a", True),
            (None, "a", "a", False),
            (None, "a", "b", True),  # it failed over
            (None, "gone", "a", True),
            (b"id.a", None, "a", False),  # the route says it already
            (b"id.a", None, "b", True),
            (b"id.gone", None, "b", True),
            (b"id.gone", "b", "b", False),
        ],
    )
    def test_when_it_is_set(
        self,
        build: Build,
        cookies: bytes | None,
        own: str | None,
        served: str,
        needed: bool,
        member: Callable[[str], Any],
    ) -> None:
        affinity = build(by=("route", "own_cookie"))
        nodes = {route: member(route) for route in ("a", "b")}
        affinity.replace(list(nodes.values()))
        values = [own_value(f"name-{own}")] if own else None
        verdict = affinity.decide(0.0, [cookies] if cookies else None, values, None)
        assert affinity.needs_own_cookie(verdict, nodes[served]) is needed

    def test_never_where_the_step_is_not_configured(
        self, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a")
        assert not affinity.needs_own_cookie(affinity.decide(0.0, None, None, None), member("a"))

    def test_an_owner_by_a_later_step_gets_the_cookie(
        self, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a", by=("own_cookie", "hash"))
        verdict = affinity.decide(0.0, [b"session"], None, None)
        assert verdict.member is not None
        assert affinity.needs_own_cookie(verdict, verdict.member)


class TestHash:
    def test_sessions_stay_and_only_those_of_who_leaves_move(
        self, build: Build, member: Callable[[str], Any]
    ) -> None:
        nodes = [member(route) for route in ("a", "b", "c")]
        affinity = build(by=("hash",))
        affinity.replace(nodes)
        sessions = [b"s%d" % number for number in range(60)]

        def owners() -> list[str]:
            return [affinity.decide(0.0, [s], None, None).member.name for s in sessions]

        before = owners()
        nodes[1].takes_owned = False
        after = owners()
        assert set(before) == {"name-a", "name-b", "name-c"}
        for old, new in zip(before, after, strict=True):
            assert new == old if old != "name-b" else new != "name-b"

    def test_without_a_session_it_is_new(self, sticky: ModuleType, build: Build) -> None:
        affinity = build("a", by=("hash",))
        for values in (None, [], [b""], [b'""']):
            verdict = affinity.decide(0.0, values, None, None)
            assert told(sticky, verdict) == (None, "hash", "new")

    def test_an_owner_that_is_gone_is_told_although_the_hash_takes_over(
        self, sticky: ModuleType, build: Build, member: Callable[[str], Any]
    ) -> None:
        affinity = build("a", "b", by=("route", "hash"))
        affinity.replace([member("b")])
        verdict = affinity.decide(0.0, [b"id.a"], None, None)
        assert told(sticky, verdict) == ("b", "route", "failover")
        new = affinity.decide(0.0, [b"id"], None, None)
        assert told(sticky, new) == ("b", "hash", "owner")
