"""What systemd is told, if it asks, and what the units tell it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from lbproxy.systemd import Notifier

UNITS = Path(__file__).resolve().parent.parent / "systemd"
analyzed = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="NOT TESTED: units, without systemd-analyze"
)


@pytest.mark.parametrize("abstract", [False, True])
def test_what_systemd_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@lbproxy-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready("joined")
        notifier.status("draining")
        notifier.stopping("leaving")
        said = [sock.recv(1000).decode() for _ in range(3)]
    assert said == ["READY=1\nSTATUS=joined", "STATUS=draining", "STOPPING=1\nSTATUS=leaving"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_how_often_the_watchdog_wants_to_hear(environment: dict[str, str], seconds: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/none"} | environment).watchdog_s == seconds
    assert Notifier(environment).watchdog_s == 0.0, "nobody listens"


def test_without_systemd_nothing_happens() -> None:
    Notifier({}).ready("joined")


def test_a_socket_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("joined")


def test_a_reload_is_told_with_its_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).reloading()
        assert re.match(r"RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=", sock.recv(1000).decode())


def verified(folder: Path, *names: str) -> str:
    """Return what systemd has to say against units, whose programs are there."""
    for name in names:
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        text = (UNITS / Path(name).name).read_text("utf-8")
        place.write_text(re.sub(r"/opt/lbproxy/bin/\w+", "/bin/true", text))
    files = [str(folder / name) for name in names if "/" not in name]
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"},
    )
    return ran.stdout + ran.stderr + (f"exit code {ran.returncode}" if ran.returncode else "")


@analyzed
def test_the_units_are_what_systemd_understands(tmp_path: Path) -> None:
    assert verified(tmp_path, "lbproxy.service", "lbproxy.socket") == ""


@analyzed
def test_reloads_that_are_waited_for_are_for_a_systemd_that_knows_them(tmp_path: Path) -> None:
    """An older one would say that it ignores the type: the service would have none."""
    said = verified(tmp_path, "lbproxy.service", "lbproxy.service.d/notify-reload.conf")
    version = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()[1]
    assert ("notify-reload" in said) == (int(version) < 253)


def test_the_socket_unit_is_for_the_service_beside_it() -> None:
    service = (UNITS / "lbproxy.service").read_text("utf-8")
    assert re.search(r"^Type=notify$", service, re.MULTILINE), "every version knows it"
    socket_unit = (UNITS / "lbproxy.socket").read_text("utf-8")
    assert re.findall(r"^ListenStream=(.*)$", socket_unit, re.MULTILINE) == [
        "0.0.0.0:80",
        "0.0.0.0:443",
    ]
    assert "Accept=yes" not in socket_unit
