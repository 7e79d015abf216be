"""`lbproxy nodes`, `drain`, `enable`, `disable` against an admin API on a thread of its own."""

from __future__ import annotations

import argparse
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cli import nodes
from lbproxy.cli.admin_client import AdminApiError, AdminClient, NodeView
from lbproxy.cli.arguments import duration


def raw(pool: str, name: str, **changes: object) -> dict[str, object]:
    return {
        "pool": pool,
        "name": name,
        "route": name,
        "url": f"http://{name}:9011",
        "source": "config",
        "health": "up",
        "admin": "enabled",
        "ejected": False,
        "weight": 1,
        "load": None,
        "in_flight": 0,
        "reason": "HTTP 200",
    } | changes


@dataclass
class Api:
    """A scripted admin API. `in_flight`: what each listing says in turn, for every node."""

    nodes: list[dict[str, object]]
    address: str = ""
    in_flight: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None

    def handle(self, method: str, path: str, token: str | None) -> tuple[int, bytes]:
        self.tokens.append(token)
        if self.answer is not None:
            return self.answer
        if method == "GET":
            flying = self.in_flight.pop(0) if self.in_flight else 0
            return 200, json.dumps(
                {"nodes": [node | {"in_flight": flying} for node in self.nodes]}
            ).encode()
        pool, name, command = path.removeprefix("/api/v1/nodes/").split("/")
        self.commands.append(f"{pool}/{name}/{command}")
        admin = {"drain": "draining", "enable": "enabled", "disable": "stopped"}[command]
        found = next(node for node in self.nodes if (node["pool"], node["name"]) == (pool, name))
        found["admin"] = admin
        return 200, json.dumps(found).encode()


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def serve(api: Api, server_class: type[socketserver.BaseServer], address: Any) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = api.handle(self.command, self.path, self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def address_string(self) -> str:
            return "client"

        def log_message(self, format: str, *args: object) -> None:
            pass

    with server_class(address, Handler) as server:
        bound = server.server_address
        assert isinstance(bound, tuple | str)
        api.address = f"unix:{bound}" if isinstance(bound, str) else f"http://127.0.0.1:{bound[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api([raw("idp", "node1"), raw("idp", "node2"), raw("other", "node2", route="r2")])
    for _ in serve(made, ThreadingHTTPServer, ("127.0.0.1", 0)):
        yield made


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "POLL_S", 0.001)
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    nodes.add_parser(parser.add_subparsers())
    namespace = parser.parse_args(list(arguments))
    code = namespace.func(namespace)
    assert isinstance(code, int)
    return code


def test_nodes(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.nodes[0] |= {"health": "down", "ejected": True, "reason": "connection refused [x]"}
    assert run("nodes", "--admin", api.address) == 0
    text = capsys.readouterr().out
    assert "down ejected" in text
    assert "connection refused [x]" in text
    assert "node2 (r2)" in text
    assert len(text.splitlines()) == 4


def test_nodes_of_one_pool_as_json(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nodes", "--admin", api.address, "--pool", "other", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["nodes"]
    assert listed == [raw("other", "node2", route="r2")]
    assert run("nodes", "--admin", api.address, "--pool", "no") == 1
    assert "there are idp, other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "admin"), [("drain", "draining"), ("enable", "enabled"), ("disable", "stopped")]
)
def test_commands(api: Api, capsys: pytest.CaptureFixture[str], command: str, admin: str) -> None:
    assert run(command, "node1", "--admin", api.address) == 0
    assert api.commands == [f"idp/node1/{command}"]
    assert capsys.readouterr().out == f"idp/node1: {admin}\n"


def test_a_command_as_json(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("drain", "node1", "--admin", api.address, "--json") == 0
    assert json.loads(capsys.readouterr().out)["admin"] == "draining"


def test_an_ambiguous_name_lists_the_candidates(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("drain", "node2", "--admin", api.address) == 1
    error = capsys.readouterr().err
    assert error == ("lbproxy drain: node2 is ambiguous: write one of idp/node2, other/node2\n")
    assert api.commands == []
    assert run("drain", "other/node2", "--admin", api.address) == 0
    assert run("drain", "node2", "--pool", "idp", "--admin", api.address) == 0
    assert api.commands == ["other/node2/drain", "idp/node2/drain"]


def test_an_unknown_name_lists_all(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("enable", "node9", "--admin", api.address) == 1
    assert "there are idp/node1, idp/node2, other/node2" in capsys.readouterr().err


def test_find_node_of_none() -> None:
    with pytest.raises(AdminApiError, match="there are none"):
        nodes.find_node(list[NodeView](), "node1")


def test_drain_waits_until_nothing_is_in_flight(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.in_flight = [9, 5, 2, 0]
    assert run("drain", "node1", "--wait", "--admin", api.address) == 0
    assert "no request is at node1" in capsys.readouterr().out
    assert api.in_flight == []


def test_drain_gives_up_at_the_deadline(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.in_flight = [3] * 1000
    assert run("drain", "node1", "--wait", "--deadline", "0.01", "--admin", api.address) == 1
    assert "3 requests are still at node1: gave up" in capsys.readouterr().out


def test_a_deadline_alone_waits_as_well(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """Who names one would take the end of the command for the end of the requests."""
    api.in_flight = [3] * 1000
    assert run("drain", "node1", "--deadline", "10ms", "--admin", api.address) == 1
    assert "3 requests are still at node1: gave up" in capsys.readouterr().out


def test_one_request_is(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.in_flight = [1] * 1000
    assert run("drain", "node1", "--wait", "--deadline", "10ms", "--admin", api.address) == 1
    assert "1 request is still at node1: gave up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("5m", 300.0), ("500ms", 0.5), ("1h", 3600.0), ("30", 30)]
)
def test_a_deadline_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5 m", "-1s", "m", "5x", "nan", "inf"])
def test_what_is_no_deadline(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("drain", "node1", "--wait", f"--deadline={text}")
    assert "write a number with a unit: 500ms, 5s, 1m, 1h" in capsys.readouterr().err


def test_the_address_comes_from_the_environment(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LBPROXY_ADMIN", api.address)
    assert run("nodes") == 0
    assert run("drain", "node1") == 0
    assert api.commands == ["idp/node1/drain"]
    monkeypatch.setenv("LBPROXY_ADMIN", "http://127.0.0.1:1")
    assert run("nodes", "--admin", api.address) == 0  # the option says more
    capsys.readouterr()


def test_since_when(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.nodes = [
        raw("idp", f"n{number}", for_s=seconds)
        for number, seconds in enumerate((0.2, 59.9, 61.0, 7300.0, 90000.0))
    ]
    assert run("nodes", "--admin", api.address) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    place = head.index("since")
    shown = [row[place:].split(" ago")[0] for row in rows]
    assert shown == ["0s", "59s", "1m", "2h", "1d"]


def test_draining_the_last_node_is_said(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.nodes[0]["warning"] = "node1 was the last"
    assert run("drain", "node1", "--admin", api.address) == 0
    said = capsys.readouterr()
    assert said.out == "idp/node1: draining\n"
    assert said.err == "lbproxy drain: node1 was the last\n"
    assert run("drain", "node1", "--admin", api.address, "--json") == 0
    assert json.loads(capsys.readouterr().out)["warning"] == "node1 was the last"


def test_the_token_is_sent(api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    assert run("nodes", "--admin", api.address, "--token-file", str(secret)) == 0
    assert api.tokens == ["Bearer s3cret"]
    api.answer = (401, b'{"detail": "a token is needed"}')
    assert run("nodes", "--admin", api.address) == 1
    assert "--token-file" in capsys.readouterr().err
    assert run("nodes", "--admin", api.address, "--token-file", str(tmp_path / "no")) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_token_is_sent_as_its_bytes_or_not_at_all(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "token"
    secret.write_text("sécret", "utf-8")
    assert run("nodes", "--admin", api.address, "--token-file", str(secret)) == 0
    assert api.tokens == ["Bearer sécret".encode().decode("latin-1")]
    secret.write_text("s3cret\nanother\n")
    assert run("nodes", "--admin", api.address, "--token-file", str(secret)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"lbproxy nodes: --token-file {secret}: holds several lines"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, b"<html>"), "is not lbproxy's admin API"),
        ((200, b'{"nodes": [{}]}'), "is not lbproxy's admin API"),
        ((200, b"[]"), "is not lbproxy's admin API"),
        ((503, b'{"detail": "busy"}'), "refused (503): busy"),
    ],
)
def test_strange_answers(
    api: Api, capsys: pytest.CaptureFixture[str], answer: tuple[int, bytes], text: str
) -> None:
    api.answer = answer
    assert run("nodes", "--admin", api.address) == 1
    error = capsys.readouterr().err
    assert text in error
    assert len(error.splitlines()) == 1


def test_nobody_there(capsys: pytest.CaptureFixture[str], unused_tcp_port: int) -> None:
    address = f"http://127.0.0.1:{unused_tcp_port}"
    assert run("nodes", "--admin", address) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"lbproxy nodes: cannot reach the admin API at {address}: Connection")
    assert "is lbproxy running" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("address", ["127.0.0.1:9090", "https://x", "http://", "http://a:x"])
def test_bad_addresses(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert run("nodes", "--admin", address) == 1
    assert "write http://host:port or unix:/path" in capsys.readouterr().err


def test_unix_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api = Api([raw("idp", "node1")])
    for _ in serve(api, UnixServer, str(tmp_path / "admin.sock")):
        assert run("nodes", "--admin", api.address) == 0
    assert "node1" in capsys.readouterr().out


def test_announced_nodes_show_what_they_said(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    told = {"source": "mcmp", "domain": "east", "reported": "active", "load": 88}
    contexts = [
        {"path": "/", "state": "enabled", "aliases": ["h"]},
        {"path": "/auth", "state": "stopped", "aliases": ["h"]},
    ]
    api.nodes.append(raw("idp", "kc/1", contexts=contexts, **told))
    api.nodes.append(raw("idp", "kc2", contexts=[], **told | {"reported": "standby"}))
    api.nodes.append(raw("idp", "kc3", contexts=[], **told | {"quarantined": True}))
    assert run("nodes", "--admin", api.address) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = ["source", "domain", "url", "contexts", "why"]
    assert [word for word in lines[0].split() if word in heads] == heads
    (kc1,) = [line for line in lines if "kc/1" in line]
    assert " 88 " in kc1
    assert " mcmp " in kc1
    assert " east " in kc1
    assert "/ /auth (stopped)" in kc1
    assert any("kc2" in line and " standby " in line for line in lines)
    assert any("kc3" in line and "up quarantined" in line for line in lines)
    assert any("node1" in line and " config " in line for line in lines)
    known = AdminClient(api.address).nodes()
    assert nodes.find_node(known, "kc/1").name == "kc/1"
    assert nodes.find_node(known, "idp/kc/1").name == "kc/1"


def test_a_table_of_the_file_alone_has_no_columns_of_others(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    run("nodes", "--admin", api.address)
    head = capsys.readouterr().out.splitlines()[0].split()
    assert head == ["pool", "node", "health", "admin", "weight", "in", "flight", "url", "why"]
