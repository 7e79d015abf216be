"""`lbproxy explain`: each decision of the request path, and its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cli import main
from lbproxy.cli.explanation import BadRequest, Explanation, explain
from lbproxy.cluster.node import Admin, Health, Node, node_from_config
from lbproxy.config.read import parse_config
from lbproxy.config.schema import Config
from lbproxy.config.sources import ConfiguredNode
from tests.hosting import host

TEXT = """\
listeners: [{name: http, bind: "127.0.0.1:0"}]
pools:
  kc:
    profile: keycloak
    nodes: [{name: kc1, url: "http://a:1"}, {name: kc2, url: "http://a:2"}]
  old:
    profile: keycloak-legacy
    nodes: [{name: o1, url: "http://a:3"}, {name: o2, url: "http://a:4"}]
  spread:
    balance: hash
    sticky: {by: [route], cookie: SID}
    nodes: [{name: s1, url: "http://a:5"}, {name: s2, url: "http://a:6"}]
  plain:
    nodes: [{name: p1, url: "http://a:7"}]
routes:
  - {host: idp.example.com, path: /auth, pool: old}
  - {host: idp.example.com, path: /spread, pool: spread}
  - {host: idp.example.com, pool: kc}
  - {host: "*.example.org", path: /x, pool: plain}
"""
KC = "GET https://idp.example.com/realms/x"


def config() -> Config:
    loaded = parse_config(TEXT, "x.yaml", Path("/")).config
    assert loaded is not None
    return loaded


def up(pool: str, node: ConfiguredNode) -> Node:
    made = node_from_config(pool, node)
    return replace(made, health=Health.UP, addresses=("10.0.0.1",))


def ask(request: str, *cookies: str, **changes: Node) -> Explanation:
    """Explain a request while all nodes are up but for the changes, by name."""
    settings = config()
    nodes = {
        name: tuple(changes.get(node.name) or up(name, node) for node in pool.nodes)
        for name, pool in settings.pools.items()
    }
    return explain(settings, request, cookies, nodes, 1.0)


def kc2(health: Health = Health.UP, admin: Admin = Admin.ENABLED) -> Node:
    return Node("kc", "kc2", "kc2", "http", "10.0.0.1", 2, health=health, admin=admin)


def test_the_route_in_a_cookie_names_the_node() -> None:
    found = ask(KC, "AUTH_SESSION_ID=1.2.kc2")
    assert (found.route, found.pool, found.profile) == (2, "kc", "keycloak")
    assert (found.step, found.result, found.node) == ("route", "owner", "kc2")
    assert found.why == [
        "routes[2] is the first that matches: idp.example.com, / -> kc",
        "route: the session belongs to kc2",
    ]


def test_a_path_parameter_names_the_node() -> None:
    found = ask("GET https://idp.example.com/auth/realms/x;jsessionid=1.o2?y=z")
    assert (found.pool, found.step, found.node) == ("old", "path_parameter", "o2")


def test_without_a_session_the_balancer_chooses() -> None:
    found = ask(KC)
    assert (found.result, found.node, found.candidates) == ("new", "", ["kc1", "kc2"])
    assert found.why[-1] == "round_robin chooses among kc1, kc2"


def test_a_route_that_no_node_has() -> None:
    found = ask(KC, "AUTH_SESSION_ID=1.kc9")
    assert found.result == "unknown_route"
    assert "none of the pool's routes (kc1, kc2)" in found.why[1]


def test_a_draining_node_keeps_its_sessions_and_gets_no_new_ones() -> None:
    draining = kc2(admin=Admin.DRAINING)
    assert ask(KC, "AUTH_SESSION_ID=1.kc2", kc2=draining).node == "kc2"
    assert ask(KC, kc2=draining).node == "kc1"


def test_an_owner_that_is_down_means_failover() -> None:
    found = ask(KC, "AUTH_SESSION_ID=1.kc2", kc2=kc2(health=Health.DOWN))
    assert (found.result, found.node) == ("failover", "kc1")


def test_a_hashed_session_has_one_node() -> None:
    first = ask("GET https://idp.example.com/spread", "SID=abc")
    assert first.node in ("s1", "s2")
    assert ask("GET https://idp.example.com/spread", "SID=abc").node == first.node


def test_a_pool_without_affinity_says_so() -> None:
    found = ask("GET http://a.example.org:8080/x")
    assert (found.pool, found.node) == ("plain", "p1")
    assert "the pool has no affinity (sticky: off)" in found.why


@pytest.mark.parametrize(
    ("request_line", "status", "reason"),
    [
        ("GET https://idp.example.com/admin/", 404, "hidden_path"),
        ("GET https://idp.example.com/realms/%2e%2e/admin", 404, "hidden_path"),
        ("GET https://elsewhere/", 404, "no_route"),
        ("GET https://a.example.org/y", 404, "no_route"),
        ("GET https://elsewhere/%2e%2e/admin", 404, "no_route"),
        ("TRACE https://idp.example.com/realms/x", 501, "not_implemented"),
        ("GET https://idp.example.com/realms/%00", 400, "doubtful_path"),
        ("GET https://idp.example.com/auth/..;/realms/x", 400, "doubtful_path"),
        ("GET https://a b/", 400, "bad_request"),
    ],
)
def test_what_lbproxy_answers_itself(request_line: str, status: int, reason: str) -> None:
    found = ask(request_line)
    assert (found.status, found.reason) == (status, reason)
    assert found.node == ""


def test_which_fields_reach_the_node() -> None:
    text = TEXT.replace("  plain:\n", "  plain:\n    pass: [X-User-Id]\n    strip: [X-Secret]\n")
    settings = parse_config(text, "x.yaml", Path("/")).config
    assert settings is not None
    fields = [
        "Accept: */*",
        "X-Real-IP: 192.0.2.1",
        "X-User-Id: 7",
        "X-Secret: s",
        "Connection: close, X-Gone",
        "X-Gone: 1",
        "X-Request-Id: abc",
    ]

    def ask(request: str) -> tuple[str, str]:
        found = explain(settings, request, [], {}, 1.0, fields=fields)
        return " ".join(found.passed), " ".join(found.dropped)

    dropped = "X-Real-IP X-User-Id X-Secret Connection X-Gone"
    assert ask(KC) == ("Accept X-Request-Id", dropped)
    assert ask("GET https://a.example.org/x") == (
        "Accept X-User-Id X-Request-Id",
        dropped.replace("X-User-Id ", ""),
    )
    assert ask("GET https://elsewhere/") == ("", "")


def test_a_field_that_is_none_is_refused_as_in_a_request() -> None:
    found = explain(config(), KC, [], {}, 1.0, fields=["no colon"])
    assert (found.status, found.reason) == (400, "bad_request")


def test_plain_http_is_redirected_where_every_listener_for_it_does_so() -> None:
    (first,) = config().listeners
    tls = first.model_copy(update={"name": "https", "tls": True})
    redirecting = first.model_copy(update={"redirect_to": "https"})
    both = config().model_copy(update={"listeners": (tls, redirecting)})
    found = explain(both, "GET http://idp.example.com/realms/x", [], {}, 0.0)
    assert (found.status, found.reason) == (308, "redirect")
    assert found.route is None
    assert "listener https" in found.why[-1]
    assert explain(both, KC, [], {}, 0.0).reason == "no_node"
    serving = both.model_copy(update={"listeners": (tls, redirecting, first)})
    assert explain(serving, "GET http://idp.example.com/realms/x", [], {}, 0.0).route == 2


def test_what_hides_a_path_is_named() -> None:
    assert ask("GET https://idp.example.com/admin/x").hidden_by == "hide: /admin"
    assert ask("GET https://idp.example.com/js/x").hidden_by.startswith("it is not below")


def test_no_node_is_503() -> None:
    stopped = {
        name: replace(kc2(admin=Admin.STOPPED), name=name, route=name) for name in ("kc1", "kc2")
    }
    assert ask(KC, **stopped).status == 503


@pytest.mark.parametrize(
    "text", ["", "GET", "https://a/", "GET /x", "GET ftp://a/", "CONN ECT http://a/"]
)
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(BadRequest):
        ask(text)


def test_a_line_break_inside_is_no_request() -> None:
    with pytest.raises(BadRequest, match="line break"):
        ask(KC, "A=1\r\nHost: x")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lbproxy.yaml"
    file.write_text(TEXT)
    argv = ["explain", "-c", str(file), KC, "--cookie", "AUTH_SESSION_ID=1.kc2"]
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["node"] == "kc2"
    assert main(argv) == 0
    assert "route: the session belongs to kc2" in capsys.readouterr().out
    assert main([*argv, "--field", "X-Real-IP: 1", "--field", "Accept: */*"]) == 0
    assert "passed on  Accept" in (printed := capsys.readouterr().out)
    assert "dropped    X-Real-IP" in printed
    assert main(["explain", "-c", str(file), "nonsense"]) == 2
    assert main(["explain", "-c", str(tmp_path / "none"), KC]) == 1
    assert main([*argv, "--admin", "http://127.0.0.1:1"]) == 1
    assert "cannot reach the admin API" in capsys.readouterr().err


def test_what_goes_into_a_pipe_is_not_folded_at_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lbproxy.yaml"
    file.write_text(TEXT)
    path = "/realms/" + "x" * 100
    assert main(["explain", "-c", str(file), f"GET https://idp.example.com{path}"]) == 0
    assert path in capsys.readouterr().out


JOINED = (
    TEXT
    + """\
mcmp: {bind: "127.0.0.1:6666", pool: empty%s}
"""
)


class TestNodesThatJoin:
    def config(self, mcmp: str) -> Config:
        text = JOINED.replace("pools:\n", "pools:\n  empty: {profile: generic}\n")
        text = text.replace("routes:\n", "routes:\n  - {host: joined.example.com, pool: empty}\n")
        result = parse_config(text % mcmp, "x.yaml", Path("/"))
        assert result.config is not None, result.problems
        return result.config

    def ask(
        self, path: str, *cookies: str, nodes: tuple[Node, ...] | None = None, mcmp: str = ""
    ) -> Explanation:
        request = f"GET https://joined.example.com{path}"
        known = {} if nodes is None else {"empty": nodes}
        live = nodes is not None
        return explain(self.config(mcmp), request, cookies, known, 1.0, live=live)

    def node(self, name: str, contexts: str, *aliases: str, **more: Any) -> Node:
        made = replace(kc2(), name=name, route=name, pool="empty")
        return replace(made, virtual_hosts=(host(contexts, *aliases),), **more)

    def test_a_file_does_not_know_them(self) -> None:
        found = self.ask("/auth")
        assert (found.status, found.node, found.candidates) == (None, "", [])
        assert found.why[-1] == (
            "nodes join this pool at run time: here only those of the file are known"
        )

    def test_the_context_decides(self) -> None:
        nodes = (self.node("a", "/ /auth!"), self.node("b", "/auth"))
        found = self.ask("/auth/realms", nodes=nodes)
        assert found.node == "b"
        assert "context /auth covers the path longest, of a (stopped), b (enabled)" in found.why
        assert self.ask("/x", nodes=nodes).node == "a"

    def test_no_context(self) -> None:
        found = self.ask("/x", nodes=(self.node("a", "/auth /b"),))
        assert (found.status, found.reason) == (404, "no_context")
        assert found.why[-1] == "no context covers this path; announced are: /auth, /b"

    def test_all_stopped(self) -> None:
        nodes = (self.node("a", "/auth!"),)
        assert self.ask("/auth", nodes=nodes).status == 503
        assert self.ask("/auth", nodes=nodes, mcmp=", all_stopped: 404").status == 404

    def test_a_doubtful_path(self) -> None:
        found = self.ask("/%61uth", nodes=(self.node("a", "/ /auth"),))
        assert (found.status, found.reason) == (400, "doubtful_path")

    def test_aliases(self) -> None:
        nodes = (
            self.node("a", "/auth", "joined.example.com"),
            self.node("b", "/auth", "other"),
        )
        assert self.ask("/auth", nodes=nodes).candidates == ["a", "b"]
        assert self.ask("/auth", nodes=nodes, mcmp=", match_alias: true").node == "a"

    def test_sessions(self) -> None:
        nodes = (
            self.node("a", "/auth-", domain="east"),
            self.node("b", "/auth", domain="east"),
            self.node("c", "/auth"),
            self.node("d", "/auth!", domain="east"),
        )
        owned = self.ask("/auth", "JSESSIONID=1.a", nodes=nodes)
        assert (owned.step, owned.result, owned.node) == ("route", "owner", "a")
        by_path = self.ask("/auth;jsessionid=1.c", nodes=nodes)
        assert (by_path.result, by_path.node) == ("owner", "c")
        moved = self.ask("/auth", "JSESSIONID=1.d", nodes=nodes)
        assert (moved.result, moved.node) == ("failover", "b")
        assert "nodes of its domain east come first" in moved.why
        spare = self.ask("/auth", "JSESSIONID=1.d", nodes=(nodes[0], *nodes[2:]))
        assert (spare.result, spare.node) == ("failover", "a")
        beyond = self.ask("/auth", "JSESSIONID=1.d", nodes=nodes[2:])
        assert beyond.node == "c"
        assert any("StickySessionForce" in reason for reason in beyond.why)


def test_the_command_says_that_nodes_join(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "listeners: [{name: http, bind: '127.0.0.1:0'}]\n"
        "pools: {idp: {profile: generic}}\nroutes: [{pool: idp}]\n"
        "mcmp: {bind: '127.0.0.1:6666', pool: idp}\n"
    )
    assert main(["explain", "-c", str(file), "GET https://a/"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "known only to the running process" in printed
    assert "nodes join this pool at run time" in printed
