"""`lbproxy reload` and `lbproxy status`, against an admin API that a test makes up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from lbproxy.cli import main

LAST = {"at": "2026-01-02T03:04:05Z", "worked": True, "changes": ["limits.body 1 -> 2"]}
UPGRADE = {
    "at": "2026-01-03T03:04:05Z",
    "worked": True,
    "before": "1.2.2",
    "after": "1.2.3",
    "problems": [],
}
STATUS = {
    "version": "1.2.3",
    "started": "2026-01-02T03:04:00Z",
    "uptime_s": 90.4,
    "workers": 4,
    "generation": 2,
    "last_reload": LAST | {"problems": []},
    "last_upgrade": UPGRADE,
}


class Api:
    """Answers each path with a status and a document. `asked`: method and path of each request."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {"/api/v1/status": (200, STATUS)}
        self.asked: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append(f"{self.command} {self.path}")
                status, document = api.answers[self.path.partition("?")[0]]
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def run(self, *command: str) -> int:
        return main([*command, "--admin", f"http://127.0.0.1:{self.server.server_port}"])


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def changed(*changes: str) -> tuple[int, Any]:
    return 200, {"changes": changes, "applied": True, "generation": 2}


def test_each_change_is_a_line(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/api/v1/reload"] = changed("listener x added", "pool [idp]: node kc3 added")
    assert api.run("reload") == 0
    assert capsys.readouterr().out == "listener x added\npool [idp]: node kc3 added\n"
    assert api.asked == ["POST /api/v1/reload?dry_run=false"]


def test_a_plan(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/api/v1/reload"] = changed()
    assert api.run("reload", "--dry-run") == 0
    assert capsys.readouterr().out == "nothing has changed\n"
    assert api.asked == ["POST /api/v1/reload?dry_run=true"]


def test_every_error_is_said(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    problems = ["x.yaml:1:2: bad", "x.yaml:3:4: worse"]
    api.answers["/api/v1/reload"] = 422, {"detail": "nothing", "problems": problems}
    assert api.run("reload") == 1
    said = capsys.readouterr()
    assert said.err == "\n".join([*problems, "lbproxy reload: nothing was changed\n"])
    assert said.out == ""
    assert api.run("reload", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document == {"applied": False, "changes": [], "problems": problems}


def test_what_answers_may_be_something_else(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/api/v1/reload"] = 200, ["?"]
    assert api.run("reload") == 1
    assert "is not lbproxy's admin API" in capsys.readouterr().err
    api.answers["/api/v1/reload"] = 403, {"detail": "no"}
    assert api.run("reload") == 1
    assert "refused (403): no" in capsys.readouterr().err


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("reload", "upgrade", "status"):
        assert main([command, "--admin", "http://127.0.0.1:1"]) == 1
        assert f"lbproxy {command}: cannot reach the admin API" in capsys.readouterr().err


def test_the_status_fits_a_screen(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert api.run("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "version      1.2.3",
        "up for       90s",
        "workers      4",
        "generation   2 of the configuration",
        "last reload  2026-01-02T03:04:05Z worked",
        "             limits.body 1 -> 2",
        "last upgrade 2026-01-03T03:04:05Z 1.2.2 -> 1.2.3",
    ]
    assert api.run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_the_status_of_one_process(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    status = {name: value for name, value in STATUS.items() if name != "last_upgrade"}
    api.answers["/api/v1/status"] = 200, status | {"workers": 0, "last_reload": None}
    assert api.run("status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "workers      all in one process"
    assert lines[-2:] == ["last reload  none", "last upgrade none"]


def test_an_upgrade_that_failed_is_in_the_status(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = UPGRADE | {"worked": False, "after": "", "problems": ["no worker today"]}
    api.answers["/api/v1/status"] = 200, STATUS | {"last_upgrade": failed}
    assert api.run("status") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "last upgrade 2026-01-03T03:04:05Z failed",
        "             no worker today",
    ]


def test_an_upgrade(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/api/v1/upgrade"] = 200, UPGRADE
    assert api.run("upgrade") == 0
    assert capsys.readouterr().out == "version 1.2.2 -> 1.2.3\n"
    assert api.run("upgrade", "--json", "--to", "/opt/b/lbproxy") == 0
    assert json.loads(capsys.readouterr().out) == UPGRADE
    assert api.asked == [
        "POST /api/v1/upgrade?to=",
        "POST /api/v1/upgrade?to=%2Fopt%2Fb%2Flbproxy",
    ]


def test_an_upgrade_that_fails(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/api/v1/upgrade"] = 422, {"detail": "no", "problems": ["no worker today"]}
    assert api.run("upgrade") == 1
    assert "the running version goes on: no worker today" in capsys.readouterr().err
    assert api.run("upgrade", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "worked": False,
        "problems": ["no worker today"],
    }
