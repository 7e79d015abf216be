"""`lbproxy net`: the state of this machine, listening on loopback, and switching."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from uuid import UUID

import pytest
from rich.console import Console

from lbproxy.cli import main, net, net_listen
from lbproxy.cli.arguments import Exit
from lbproxy.net import readiness as multicast_state
from lbproxy.net import switch as multicast_switch
from lbproxy.net.interfaces import Address, Interface, Route
from lbproxy.net.multicast import Lack, Place
from lbproxy.net.sender import open_sender, send_by
from lbproxy.net.switch import SwitchError
from lbproxy.wire.advertise import Advertisement, render, salt

GROUP = "239.255.64.8"
SERVER = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
LO = Interface(
    *(1, "lo"),
    loopback=True,
    multicast=False,
    addresses=(Address(ip_address("127.0.0.1"), 8, local=True),),
)
ETH0 = Interface(2, "eth0", addresses=(Address(ip_address("192.0.2.5"), 24),))
DOWN = Interface(3, "eth1", up=False, running=False)
UNPLUGGED = Interface(4, "eth2", running=False)


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests, with lbproxy in a folder that sudo does not know."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["/opt/lbproxy/bin/lbproxy"])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (LO, ETH0, DOWN, UNPLUGGED)
    monkeypatch.setattr(multicast_state, "read_interfaces", lambda: found)
    way = Route(IPv4Network("0.0.0.0/0"), 2)
    monkeypatch.setattr(multicast_state, "route_to", lambda ip: way)
    monkeypatch.setattr(multicast_state, "_rp_filter", lambda each, proc: int(each is ETH0))


@pytest.mark.usefixtures("machine")
def test_the_state_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["net", "status"]) == Exit.FINE
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line.split() for line in lines[:5]] == [
        ["interface", "state", "multicast", "joined", "addresses"],
        ["lo", "up", "no", "no", "127.0.0.1"],
        ["eth0", "up", "yes", "no", "192.0.2.5"],
        ["eth1", "down", "yes", "no"],
        ["eth2", "no", "carrier", "yes", "no"],
    ]
    assert lines[6:] == [
        "lo: missing",
        "  lo has no MULTICAST flag; run `sudo /opt/lbproxy/bin/lbproxy net enable-multicast lo`",
        "eth0: ready for 224.0.1.105:23364",
        "  rp_filter of eth0 is strict: what comes from a sender that is reached by another "
        "interface is dropped; run `sudo sysctl -w net.ipv4.conf.eth0.rp_filter=2`",
        "eth1: missing",
        "  eth1 is down; run `sudo ip link set dev eth1 up`",
        "eth2: missing",
        "  eth2 has no carrier: look at its cable, or the other end",
        "",
        "Programs that name no interface use eth0, by the route 0.0.0.0/0.",
    ]


@pytest.mark.usefixtures("machine")
def test_the_state_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["net", "status", "--json", "--group", "239.1.1.1:5000"]) == Exit.FINE
    found = json.loads(capsys.readouterr().out)
    assert found["group"] == "239.1.1.1:5000"
    assert found["route"] == {"network": "0.0.0.0/0", "interface": "eth0"}
    assert found["missing"] == []
    by_name = {each["name"]: each for each in found["interfaces"]}
    assert by_name["lo"] == {
        "name": "lo",
        "index": 1,
        "up": True,
        "running": True,
        "multicast": False,
        "loopback": True,
        "joined": False,
        "addresses": ["127.0.0.1"],
        "missing": [
            {"what": "lo has no MULTICAST flag", "command": "lbproxy net enable-multicast lo"}
        ],
        "notes": [],
    }
    assert by_name["eth0"]["missing"] == []
    assert by_name["eth0"]["notes"][0]["command"] == "sysctl -w net.ipv4.conf.eth0.rp_filter=2"


@pytest.mark.usefixtures("machine")
def test_a_machine_without_a_route(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(multicast_state, "route_to", lambda ip: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["net", "status"]) == Exit.FINE
    assert capsys.readouterr().out.splitlines()[-1] == (
        "no route leads to 224.0.1.105: programs that name no interface can neither send to it "
        "nor join it; run `/opt/lbproxy/bin/lbproxy net enable-multicast INTERFACE`"
    )


def test_the_state_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """No privilege is needed, and nothing is made up."""
    assert main(["net", "status", "--json"]) == Exit.FINE
    names = [each["name"] for each in json.loads(capsys.readouterr().out)["interfaces"]]
    assert "lo" in names
    assert main(["net", "status"]) == Exit.FINE
    assert "\nlo " in capsys.readouterr().out


def test_netlink_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> tuple[Interface, ...]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(multicast_state, "read_interfaces", refuse)
    assert main(["net", "status"]) == Exit.CONFIGURATION
    expected = "lbproxy net: cannot look at the network: Operation not permitted\n"
    assert capsys.readouterr().err == expected


class Proxy(threading.Thread):
    """Sends datagrams by loopback, again and again, until it is told to end."""

    def __init__(self, port: int, *datagrams: bytes) -> None:
        super().__init__()
        self._port = port
        self._datagrams = datagrams
        self._over = threading.Event()

    def run(self) -> None:
        ip = ip_address("127.0.0.1")
        with open_sender(4) as sock:
            while not self._over.wait(0.005):
                for datagram in self._datagrams:
                    send_by(sock, Place("lo", 1, ip, ip), datagram, (ip_address(GROUP), self._port))

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("0.0.0.0", 0))
        yield probe.getsockname()[1]


def listening(port: int, *more: str, seconds: str = "60") -> list[str]:
    return [
        *("net", "status", "--group", f"{GROUP}:{port}", "--interface", "lo"),
        *("--listen", seconds, *more),
    ]


def good(key: bytes | None = None) -> bytes:
    return render(Advertisement(SERVER, "192.0.2.10", 6666), 1, 0.0, salt(key))


def test_listening_says_what_a_node_does(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(net_listen, "MAX_DATAGRAMS", 2)
    with Proxy(port, good()):
        assert main(listening(port)) == Exit.FINE
    output = capsys.readouterr().out
    assert f"Listening to {GROUP}:{port} on lo for 60 s\n" in output
    first, second = [line for line in output.splitlines() if "tells of" in line]
    assert first.startswith("127.0.0.1:")
    assert first.endswith(
        f" on lo tells of 192.0.2.10:6666: a node registers (it is new and complete; id {SERVER})"
    )
    assert "a node knows it (its id and address came before;" in second


def test_listening_for_programs(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(net_listen, "MAX_DATAGRAMS", 2)
    with Proxy(port, good()):
        assert main(listening(port, "--json")) == Exit.FINE
    first, second = json.loads(capsys.readouterr().out)["heard"]
    assert first.pop("from").startswith("127.0.0.1:")
    assert first == {
        "interface": "lo",
        "bytes": len(good()),
        "accepted": True,
        "reaction": "registers",
        "reason": "it is new and complete",
        "server": str(SERVER),
        "address": "192.0.2.10",
        "port": 6666,
    }
    assert second["reaction"] == "knows"


@pytest.mark.parametrize(("key", "code"), [("s3cret", Exit.FINE), ("other", Exit.CONFIGURATION)])
def test_listening_with_a_key(
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    key: str,
    code: Exit,
) -> None:
    monkeypatch.setattr(net_listen, "MAX_DATAGRAMS", 1)
    (tmp_path / "key").write_text(f"{key}\n")
    with Proxy(port, good(b"s3cret")):
        assert main(listening(port, "--key-file", str(tmp_path / "key"))) == code
    output = capsys.readouterr().out
    assert ("its digest does not fit the key" in output) == (code != Exit.FINE)
    assert key not in output


def test_an_id_that_was_wasted_stays_so(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(net_listen, "MAX_DATAGRAMS", 2)
    bare = good().replace(b"X-Manager-Address: 192.0.2.10:6666\r\n", b"")
    with Proxy(port, bare, good()):
        assert main(listening(port, "--json")) == Exit.CONFIGURATION
    reports = json.loads(capsys.readouterr().out)["heard"]
    assert [each["reaction"] for each in reports] == ["wastes", "ignores"]


def test_what_a_stranger_sends_does_not_reach_the_terminal(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(net_listen, "MAX_DATAGRAMS", 2)
    name = f"\x1b[31m[bold]\x9b{'x' * 200}".encode("latin-1")
    evil = b"HTTP/1.0 200 OK\r\nServer: " + name + b"\r\nX-Manager-Address: \x1b]0;x\x07:1\r\n"
    with Proxy(port, evil, b"\x1b[2J\xff"):
        assert main(listening(port)) == Exit.CONFIGURATION
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "\x9b" not in output
    assert "[bold]" in output
    assert "x" * 200 not in output


def test_silence(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(listening(port, seconds="0.05")) == Exit.CONFIGURATION
    assert "Nothing was heard." in capsys.readouterr().out


def test_listening_where_there_is_no_interface(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["net", "status", "--json", "--listen", "1", "--interface", "eth77"]
    assert main(arguments) == Exit.CONFIGURATION
    assert "there is no interface eth77; there are " in capsys.readouterr().err


def test_a_key_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["net", "status", "--key-file", "/nowhere/key"]) == Exit.CONFIGURATION
    expected = "lbproxy net: --key-file /nowhere/key: No such file or directory\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["status", "--listen", "0"],
        ["status", "--listen", "soon"],
        ["status", "--listen", "3601"],
        ["status", "--listen", "nan"],
        ["status", "--group", "10.0.0.1:1"],
        ["enable-multicast"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["net", *arguments]) == Exit.USAGE
    assert "usage: lbproxy net" in capsys.readouterr().err


def test_the_time_to_listen_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def listen(ear: net_listen.Ear, console: Console | None) -> list[net_listen.Report]:
        seen.append(ear.seconds)
        return []

    monkeypatch.setattr(net, "listen", listen)
    assert main(["net", "status", "--json", "--listen"]) == Exit.CONFIGURATION
    assert seen == [net.LISTEN_S]


def test_switching_says_what_was_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: tuple[str, ...] = ("set the flag", "added the route")
    monkeypatch.setattr(multicast_switch, "enable", lambda name: steps)
    assert main(["net", "enable-multicast", "lo"]) == Exit.FINE
    assert capsys.readouterr().out == "set the flag\nadded the route\n"
    steps = ()
    assert main(["net", "enable-multicast", "lo"]) == Exit.FINE
    assert capsys.readouterr().out == "nothing to do: lo is ready for multicast\n"


def test_switching_off_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacks = (Lack("the flag is not ours", "ip link set dev eth0 multicast off"),)
    monkeypatch.setattr(multicast_switch, "disable", lambda name: ((), lacks))
    assert main(["net", "disable-multicast", "eth0"]) == Exit.FINE
    assert capsys.readouterr().out == (
        "nothing to undo at eth0\n"
        "left alone: the flag is not ours; run `sudo ip link set dev eth0 multicast off`\n"
    )


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        ("/opt/lbproxy/bin/lbproxy", "/opt/lbproxy/bin/lbproxy"),
        ("/usr/bin/lbproxy", "lbproxy"),
        ("/src/lbproxy/__main__.py", f"{sys.executable} -m lbproxy"),
    ],
)
def test_without_permission_there_is_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: str, command: str
) -> None:
    def refuse(name: str) -> tuple[str, ...]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(multicast_switch, "enable", refuse)
    monkeypatch.setattr(sys, "argv", [argv])
    assert main(["net", "enable-multicast", "lo"]) == Exit.CONFIGURATION
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"lbproxy net: not permitted to change lo; run `sudo {command} net enable-multicast lo`\n"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["net", "enable-multicast", "lo"]) == Exit.CONFIGURATION
    assert capsys.readouterr().err == (
        "lbproxy net: not permitted to change lo: this container lacks CAP_NET_ADMIN\n"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SwitchError(Lack("lo is down", "ip link set dev lo up")), "lo is down; run `sudo ip "),
        (OSError(95, "Operation not supported"), "cannot change lo: Operation not supported"),
    ],
)
def test_what_cannot_be_switched(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    def refuse(name: str) -> tuple[str, ...]:
        raise error

    monkeypatch.setattr(multicast_switch, "enable", refuse)
    assert main(["net", "enable-multicast", "lo"]) == Exit.CONFIGURATION
    assert capsys.readouterr().err.startswith(f"lbproxy net: {message}")


@pytest.mark.parametrize("arguments", [["status"], ["enable-multicast", "lo"]])
def test_elsewhere_than_on_linux(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(["net", *arguments]) == Exit.CONFIGURATION
    assert capsys.readouterr().err == (
        "lbproxy net: works on Linux only; elsewhere see `ifconfig -a`\n"
    )
