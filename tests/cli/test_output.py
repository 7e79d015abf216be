"""What comes from outside reaches no terminal raw: every command, and the rule that keeps it so."""

from __future__ import annotations

import ast
import io
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

import lbproxy.cli
from lbproxy.cli import _MODULES, main, net_listen
from lbproxy.config.read import load_config
from lbproxy.net.listener import Heard
from lbproxy.terminal import shown
from lbproxy.wire.advertise import Judgement, Reaction

# A colour, a new title, a bell, C1, an override of direction, line breaks; rich markup, and an end
# tag without a beginning, of which rich makes an error.
EVIL = "[/x]\x1b[31m\x1b]0;owned\x07\x9b2J\x7f\u202e\u2066\u200b\u2028[bold]"
Say = Callable[..., str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a command; return both outputs, which must be fit for a terminal."""
    monkeypatch.setenv("COLUMNS", "2000")

    def run(*arguments: str) -> str:
        main(arguments)
        said = capsys.readouterr()
        for line in (said.out + said.err).split("\n"):
            assert line.isprintable(), f"{arguments}: {line!r}"
        return said.out + said.err

    return run


@contextmanager
def answering(answer: Callable[[str], tuple[int, dict[str, str], str]]) -> Iterator[int]:
    """Serve what `answer` says to a path; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, fields, body = answer(self.path)
            self.send_response_only(status)
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "location", [f"http://10.0.0.1/{EVIL}", "http://[", "//[x]/", f"/{EVIL}", "https://é/ü"]
)
def test_the_doctor(say: Say, location: str) -> None:
    """Even if a URL is none: that is a finding, and no end of the command."""
    raw = location.replace("\u202e", "").replace("\u2066", "").replace("\u200b", "")
    raw = raw.replace("\u2028", "")  # fields are Latin-1

    def answer(path: str) -> tuple[int, dict[str, str], str]:
        if "well-known" in path:
            document = {"issuer": f"http://10.0.0.1/{EVIL}", "jwks_uri": "http://["}
            return 200, {}, json.dumps(document)
        return 302, {"Location": raw, "Set-Cookie": f"{EVIL[:20]}=x; path=/no{EVIL[:20]}"}, ""

    with answering(answer) as port:
        said = say("doctor", f"http://127.0.0.1:{port}", "--profile", "keycloak")
        say("doctor", f"http://127.0.0.1:{port}", "--profile", "keycloak", "--json")
    assert "\\x1b]0;owned\\x07" in said


def node(**changes: object) -> dict[str, object]:
    return {
        "pool": "idp",
        "name": f"n{EVIL}",
        "route": f"r{EVIL}",
        "url": f"http://a{EVIL}",
        "source": f"mcmp{EVIL}",
        "health": f"up{EVIL}",
        "admin": f"enabled{EVIL}",
        "weight": 1,
        "load": None,
        "in_flight": 0,
        "reason": f"why{EVIL}",
        "for_s": 3.0,
        "domain": EVIL,
        "reported": f"broken{EVIL}",
        "warning": f"the last{EVIL}",
        "contexts": [{"path": f"/{EVIL}", "state": f"stopped{EVIL}", "aliases": [EVIL]}],
    } | changes


def test_nodes_and_commands(say: Say) -> None:
    left = iter([0, 2, 1, 0])

    def answer(path: str) -> tuple[int, dict[str, str], str]:
        one = node(in_flight=next(left, 0))
        return 200, {}, json.dumps({"nodes": [one]} if path == "/api/v1/nodes" else one)

    with answering(answer) as port:
        admin = ("--admin", f"http://127.0.0.1:{port}")
        assert "[/x]\\x1b[31m" in say("nodes", *admin)
        say("nodes", "--json", *admin)
        left = iter([0, 0, 2, 1, 0])
        said = say("drain", f"n{EVIL}", "--wait", *admin)
        assert f"no request is at {shown(f'n{EVIL}')}" in said
        left = iter([5] * 99)
        assert "gave up" in say("drain", f"n{EVIL}", "--wait", "--deadline", "10ms", *admin)
        for command in ("enable", "disable"):
            assert shown(f"the last{EVIL}") in say(command, f"n{EVIL}", *admin)
        assert "there is no node" in say("drain", f"x{EVIL}", *admin)
        assert "there is no pool" in say("nodes", "--pool", EVIL, *admin)

    last = {"at": EVIL, "worked": False, "changes": [EVIL], "problems": [EVIL]}
    facts = {"version": EVIL, "uptime_s": 1, "workers": 2, "generation": 1, "last_reload": last}
    upgraded = {"at": EVIL, "worked": True, "before": EVIL, "after": EVIL, "problems": [EVIL]}
    documents: dict[str, tuple[int, dict[str, str], str]] = {
        "/api/v1/status": (200, {}, json.dumps(facts | {"last_upgrade": upgraded})),
        "/api/v1/upgrade?to=": (200, {}, json.dumps(upgraded)),
        "/api/v1/upgrade?to=x": (422, {}, json.dumps({"problems": [EVIL]})),
        "/api/v1/reload?dry_run=true": (200, {}, json.dumps({"changes": [EVIL]})),
        "/api/v1/reload?dry_run=false": (422, {}, json.dumps({"problems": [EVIL]})),
    }
    with answering(documents.__getitem__) as port:
        admin = ("--admin", f"http://127.0.0.1:{port}")
        assert say("status", *admin).count(shown(EVIL)) == 8
        assert say("upgrade", *admin).count(shown(EVIL)) == 2
        assert shown(EVIL) in say("upgrade", "--to", "x", *admin)
        say("status", "--json", *admin)
        assert shown(EVIL) in say("reload", "--dry-run", *admin)
        assert shown(EVIL) in say("reload", *admin)

    with answering(lambda path: (500, {}, json.dumps({"detail": EVIL}))) as port:
        assert shown(EVIL) in say("nodes", "--admin", f"http://127.0.0.1:{port}")
    assert "write http" in say("nodes", "--admin", f"ftp://{EVIL}")
    say("nodes", "--token-file", f"/nonexistent/{EVIL}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with names that no terminal likes, and good as far as it can be."""
    path = tmp_path / f"a{EVIL[4:9]}.yaml"
    path.write_text(
        "listeners: [{name: http, bind: '127.0.0.1:0'}]\n"
        "pools: {a: {sticky: {by: [route], cookie: S}, nodes: [{name: n, url: 'http://a:1'}]}}\n"
        f"routes: [{{path: {json.dumps('/[x]' + EVIL)}, pool: a}}]\n"
    )
    return path


def test_configurations(say: Say, file: Path, tmp_path: Path) -> None:
    say("check", "-c", str(file))
    say("check", "-c", str(file), "--json")
    say("explain", f"GET http://a/[/x]{EVIL}", "-c", str(file))
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"{json.dumps(EVIL)}: 1\nlisteners: {json.dumps(EVIL)}\npools: {{")
    for command in (("check",), ("run",), ("explain", "GET http://a/")):
        say(*command, "-c", str(bad))
    bad.write_text(f"{json.dumps(EVIL)}: 1\nlisteners: [{{name: {json.dumps(EVIL)}, bind: x}}]\n")
    for command in (("check",), ("run",), ("explain", "GET http://a/")):
        assert "\\x1b" in say(*command, "-c", str(bad))
        say(*command, "-c", f"/nonexistent/{EVIL}")


def test_settings_of_another_lbproxy(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(
        "listeners: [{name: http, bind: '127.0.0.1:0'}]\n"
        "pools: {idp: {nodes: [{name: n, url: 'http://a:1'}]}}\n"
        "routes: [{pool: idp}]\n"
    )
    config = load_config(path).config
    assert config is not None
    settings = config.model_dump(mode="json", by_alias=True)
    for name, told in ((EVIL, "server_name"), (7, "version")):
        settings["forwarding"]["server_name"] = name
        answer = json.dumps({"settings": settings, "version": EVIL})
        with answering(lambda path, answer=answer: (200, {}, answer)) as port:  # type: ignore[misc]
            command = ("check", "-c", str(path), "--against-running")
            said = say(*command, "--admin", f"http://127.0.0.1:{port}")
            assert shown(EVIL) in said
            assert told in said
            say(*command, "--admin", f"http://127.0.0.1:{port}", "--json")


def test_explain(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(
        "listeners: [{name: http, bind: '127.0.0.1:0'}]\n"
        "pools: {idp: {sticky: {by: [route], cookie: S}, nodes: [{name: n, url: 'http://a:1'}]}}\n"
        "routes: [{pool: idp}]\n"
    )
    for request in (f"GET http://a/x{EVIL}", f"G{EVIL} http://a/", f"GET http://{EVIL}/"):
        say("explain", request, "-c", str(path), "--cookie", f"S=1.{EVIL}", "--admin", "")
    announced = node(
        source="mcmp",
        health="up",
        admin="enabled",
        reported="active",
        url="http://127.0.0.1:1",
        warning="",
        contexts=[{"path": "/", "state": "enabled", "aliases": [EVIL]}],
    )
    with answering(lambda path: (200, {}, json.dumps({"nodes": [announced]}))) as port:
        admin = f"http://127.0.0.1:{port}"
        said = say("explain", "GET http://a/", "-c", str(path), "--admin", admin)
    with answering(lambda path: (200, {}, json.dumps({"nodes": [node()]}))) as port:
        say("explain", "GET http://a/", "-c", str(path), "--admin", f"http://127.0.0.1:{port}")
    assert shown(f"n{EVIL}") in said


def test_the_agent(say: Say, tmp_path: Path) -> None:
    class Agent(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(f"* waiting {EVIL.replace(chr(0x2028), '')}\n".encode())
            self.wfile.write(f"ok: joined {EVIL}\n".encode())

    path = tmp_path / "agent.yaml"
    path.write_text(
        'node: {route: n1, url: "http://127.0.0.1:9"}\nproxies: ["http://127.0.0.1:9"]\n'
        f'control: "unix:{tmp_path}/agent.sock"\n'
    )
    with socketserver.UnixStreamServer(str(tmp_path / "agent.sock"), Agent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            assert "joined [/x]\\x1b[31m" in say("agent", "status", "-c", str(path))
        finally:
            server.shutdown()
            thread.join()
    path.write_text(f"node: {{route: {json.dumps(EVIL)}}}\n{json.dumps(EVIL)}: 1\n")
    assert "\\x1b" in say("agent", "--check", "-c", str(path))
    say("agent", "--check", "-c", f"/nonexistent{EVIL}")


def test_multicast(say: Say) -> None:
    assert shown(EVIL) in say("net", "status", "--listen", "1s", "--interface", EVIL)
    say("net", "enable-multicast", EVIL)
    verdict = Judgement(Reaction.WASTES, EVIL, EVIL, EVIL, 1)
    heard = io.StringIO()
    line = net_listen._line(net_listen.Report(Heard(b"", EVIL, 1), EVIL, verdict))
    Console(file=heard, width=2000).print(line)
    assert heard.getvalue().rstrip("\n").isprintable()


def test_the_demo(say: Say, tmp_path: Path) -> None:
    secret = tmp_path / EVIL[4:9]
    assert "\\x1b" in say("demo-node", "--name", "a", "--secret-file", str(secret))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        say("demo", "--https-port", port, "--dir", str(tmp_path / EVIL[4:9]))


def test_the_schema(say: Say) -> None:
    assert say("schema").startswith("{")


def test_every_command_is_here() -> None:
    """A new command has to be added above."""
    source = Path(__file__).read_text("utf-8")
    missing = [name for name in _MODULES if f'"{name}"' not in source]
    assert missing == []


@pytest.mark.parametrize(
    "path", sorted(Path(lbproxy.cli.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_one_module_makes_what_is_shown(path: Path) -> None:
    if path.stem == "output":
        return
    for call in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        function = ast.unparse(call.func)
        rule = f"{path.name}:{call.lineno}: {ast.unparse(call)}: see lbproxy/cli/output.py"
        assert function not in ("print", "Text", "Text.assemble", "json.dumps"), rule
        if function.endswith((".print", ".add_row", ".update")) and function != "found.update":
            for argument in call.args:
                assert not isinstance(argument, ast.JoinedStr | ast.Constant), rule
