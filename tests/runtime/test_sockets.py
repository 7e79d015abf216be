from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from lbproxy.config.addresses import Bind, parse_bind
from lbproxy.config.read import parse_config
from lbproxy.config.schema import Config
from lbproxy.runtime import sockets as module
from lbproxy.runtime.sockets import BindError, McmpBindError, open_all, open_socket, port_of


def connectable(address: tuple[str, int] | str, family: socket.AddressFamily) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        return client.connect_ex(address) == 0


@pytest.mark.parametrize("text", ["127.0.0.1:0", "0.0.0.0:0"])
def test_ipv4(text: str) -> None:
    with open_socket(parse_bind(text)) as sock:
        assert not sock.getblocking()
        assert connectable(("127.0.0.1", sock.getsockname()[1]), socket.AF_INET)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
def test_one_ipv6_address_is_that_address_alone() -> None:
    with open_socket(parse_bind("[::1]:0")) as sock:
        port = sock.getsockname()[1]
        assert connectable(("::1", port), socket.AF_INET6)
        assert not connectable(("127.0.0.1", port), socket.AF_INET)


@needs_ipv6
def test_every_ipv6_address_is_every_address() -> None:
    with open_socket(parse_bind("[::]:0")) as sock:
        port = sock.getsockname()[1]
        assert connectable(("::1", port), socket.AF_INET6)
        assert connectable(("127.0.0.1", port), socket.AF_INET)


Resolved = list[tuple[socket.AddressFamily, str]]
V4, V6 = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")


@needs_ipv6
@pytest.mark.parametrize(
    ("resolved", "heard"),
    [
        ([V4], V4),
        ([V6], V6),
        ([V6, V4], V4),
        ([V4, V6], V4),
    ],
)
def test_a_name_is_its_first_ipv4_address_or_else_its_first_one(
    monkeypatch: pytest.MonkeyPatch, resolved: Resolved, heard: tuple[socket.AddressFamily, str]
) -> None:
    found = [
        (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0, 0, 0)[: 2 + 2 * six])
        for family, address in resolved
        for six in [family == socket.AF_INET6]
    ]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        sock = open_socket(parse_bind("idp.internal:0"))
    with sock:
        family, address = heard
        assert (sock.family, sock.getsockname()[0]) == heard
        assert connectable((address, sock.getsockname()[1]), family)


def test_a_name_without_an_address_is_said() -> None:
    with pytest.raises(BindError, match=r"cannot listen on no-such-name\.invalid:0: .*[Nn]ame"):
        open_socket(parse_bind("no-such-name.invalid:0"))


def test_a_port_can_be_bound_again_after_its_connections_closed() -> None:
    """TIME_WAIT of the process before must not keep the next one from starting."""
    with open_socket(parse_bind("127.0.0.1:0")) as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            sock.setblocking(True)
            served, _ = sock.accept()
            served.close()  # the server's end closes first and keeps TIME_WAIT
            assert client.recv(1) == b""
    open_socket(parse_bind(f"127.0.0.1:{port}")).close()


def test_a_taken_port_says_what_to_do() -> None:
    with open_socket(parse_bind("127.0.0.1:0")) as sock:
        bind = parse_bind(f"127.0.0.1:{sock.getsockname()[1]}")
        with pytest.raises(BindError, match="in use; stop what listens there") as caught:
            open_socket(bind)
    assert str(bind) in str(caught.value)


def test_a_foreign_address_is_said() -> None:
    with pytest.raises(BindError, match="no such address"):
        open_socket(parse_bind("192.0.2.1:0"))


def unix(path: Path) -> Bind:
    return parse_bind(f"unix:{path}")


def test_a_unix_socket(tmp_path: Path) -> None:
    with open_socket(unix(tmp_path / "s")):
        assert connectable(str(tmp_path / "s"), socket.AF_UNIX)


def test_the_unix_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    open_socket(unix(tmp_path / "s")).close()
    assert (tmp_path / "s").exists()
    with open_socket(unix(tmp_path / "s")):
        assert connectable(str(tmp_path / "s"), socket.AF_UNIX)


def test_the_unix_socket_of_a_living_process_is_not(tmp_path: Path) -> None:
    with open_socket(unix(tmp_path / "s")):
        with pytest.raises(BindError, match="in use"):
            open_socket(unix(tmp_path / "s"))
        assert connectable(str(tmp_path / "s"), socket.AF_UNIX)


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(BindError, match="not a socket"):
        open_socket(unix(tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "precious"


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="No such file"):
        open_socket(unix(tmp_path / "no" / "s"))


def test_a_failure_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for text in ("192.0.2.1:0", f"unix:{tmp_path}/no/s"):
        with pytest.raises(BindError):
            open_socket(parse_bind(text))
    assert len(os.listdir("/proc/self/fd")) == before


def everything(tmp_path: Path) -> Config:
    document = f"""
listeners:
  - {{name: tcp, bind: "127.0.0.1:0"}}
  - {{name: door, bind: "unix:{tmp_path}/door"}}
pools: {{idp: {{}}}}
routes: [{{pool: idp}}]
admin: {{bind: "unix:{tmp_path}/admin"}}
mcmp: {{bind: "unix:{tmp_path}/mcmp", pool: idp}}
access_log: false
"""
    result = parse_config(document, "test.yaml", tmp_path)
    assert result.config is not None, result.problems
    return result.config


def test_everything_is_opened_and_goes_with_its_files(tmp_path: Path) -> None:
    sockets = open_all(everything(tmp_path))
    assert port_of(sockets.listeners["tcp"][0]) > 0
    assert sockets.mcmp is not None
    assert port_of(sockets.admin) == port_of(sockets.mcmp.listening) == 0
    for name in ("admin", "mcmp"):
        assert connectable(str(tmp_path / name), socket.AF_UNIX)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, "for this user alone"
    sockets.close()
    sockets.close()
    assert not [*tmp_path.iterdir()]


def test_the_file_of_a_successor_stays(tmp_path: Path) -> None:
    sockets = open_all(everything(tmp_path))
    (tmp_path / "admin").unlink()
    with open_socket(unix(tmp_path / "admin")):
        sockets.close()
        assert connectable(str(tmp_path / "admin"), socket.AF_UNIX)


def test_the_file_of_a_successor_stays_though_its_inode_is_the_same(tmp_path: Path) -> None:
    # A listener's socket is closed while its worker drains. From then on a file system may give the
    # number of its file to the one of the process that starts beside it.
    sockets = open_all(everything(tmp_path))
    os.utime(tmp_path / "admin", (1, 1))
    sockets.close()
    assert [path.name for path in tmp_path.iterdir()] == ["admin"]


def test_a_file_that_cannot_be_removed_holds_nothing_up(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    sockets = open_all(everything(place))
    place.rename(tmp_path / "elsewhere")
    place.write_text("no directory any more")
    sockets.close()
    left = (tmp_path / "elsewhere").iterdir()
    assert sorted(path.name for path in left) == ["admin", "door", "mcmp"]


def test_one_that_cannot_be_opened_closes_the_others(tmp_path: Path) -> None:
    config = everything(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with open_socket(unix(tmp_path / "mcmp")):
        with pytest.raises(McmpBindError, match=f"mcmp.bind unix:{tmp_path}/mcmp: it is in use"):
            open_all(config)
        assert len(os.listdir("/proc/self/fd")) == before + 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mcmp"]


def advertising(group: str | None) -> Config:
    said = "false" if group is None else f'{{group: "{group}"}}'
    document = f"""
listeners: [{{name: tcp, bind: "127.0.0.1:0"}}]
pools: {{idp: {{}}}}
routes: [{{pool: idp}}]
admin: false
mcmp: {{bind: "127.0.0.1:0", pool: idp, advertise: {said}}}
access_log: false
"""
    result = parse_config(document, "test.yaml", Path())
    assert result.config is not None, result.problems
    return result.config


@pytest.mark.parametrize(
    ("group", "family"),
    [
        ("224.0.1.105:23364", socket.AF_INET),
        pytest.param("[ff15::1]:23364", socket.AF_INET6, marks=needs_ipv6),
    ],
)
def test_the_socket_of_advertisements_has_the_family_of_the_group(
    group: str, family: socket.AddressFamily
) -> None:
    opened = open_all(advertising(group))
    try:
        assert opened.mcmp is not None
        assert opened.mcmp.sending is not None
        assert opened.mcmp.sending.family == family
    finally:
        opened.close()
    assert opened.mcmp.sending.fileno() == opened.mcmp.listening.fileno() == -1


def test_nothing_is_opened_to_send_if_nothing_is_advertised() -> None:
    opened = open_all(advertising(None))
    opened.close()
    assert opened.mcmp is not None
    assert opened.mcmp.sending is None


def test_a_family_that_the_machine_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(version: int) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(module, "open_sender", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(McmpBindError, match=r"^mcmp\.advertise\.group \[ff15::1\]:1: Address fam"):
        open_all(advertising("[ff15::1]:1"))
    assert len(os.listdir("/proc/self/fd")) == before
