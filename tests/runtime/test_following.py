"""Another configuration crosses to a child with the sockets that are new, and with no others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.schema import Config
from lbproxy.runtime.board_memory import BoardMemory
from lbproxy.runtime.following import new_sockets, pack, unpack
from lbproxy.runtime.image import Image
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.sockets import (
    BindError,
    Sockets,
    close_unused,
    open_again,
    open_all,
    open_socket,
    port_of,
)


def configured(*listeners: str, **sections: Any) -> Config:
    """Return a configuration. Args: listeners: `name address`."""
    return Config.model_validate(
        {
            "listeners": [
                dict(zip(("name", "bind"), each.split(), strict=True)) for each in listeners
            ],
            "pools": {"idp": {"nodes": [{"name": "a", "url": "http://127.0.0.1:1"}]}},
            "routes": [{"pool": "idp"}],
            "access_log": False,
        }
        | sections
    )


def image(config: Config, sockets: Sockets) -> Image:
    memory = BoardMemory.make(100, 4, 128)
    return Image(config, Path("x.yaml"), sockets, {}, {"idp": b"key"}, 2, KeptMemory(), memory)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def closing() -> Iterator[list[Sockets]]:
    opened: list[Sockets] = []
    yield opened
    for each in opened:
        each.close()


def ports(sockets: Sockets) -> dict[str, list[int]]:
    return {name: [*map(port_of, members)] for name, members in sockets.listeners.items()}


def test_what_both_name_stays_the_same_socket(closing: list[Sockets]) -> None:
    before = configured("a 127.0.0.1:0", "b 127.0.0.2:0", admin={"bind": "127.0.0.1:0"})
    old = open_all(before, 2)
    closing.append(old)
    after = configured("a 127.0.0.1:0", "c 127.0.0.3:0", admin={"bind": "127.0.0.1:0"})
    new = open_again(old, after, 2)
    closing.append(new)
    assert new.listeners["a"] is old.listeners["a"]
    assert new.admin is old.admin
    assert len(new.listeners["c"]) == 2
    assert new_sockets(old, new) == Sockets({"c": new.listeners["c"]})
    close_unused(old, new)
    assert {sock.fileno() for sock in old.listeners["b"]} == {-1}
    assert all(sock.fileno() >= 0 for sock in new.all())


def test_addresses_may_change_places(closing: list[Sockets]) -> None:
    """No address is let go of in between: what waits there is served by who has it next."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = configured(f"a 127.0.0.1:{port}", f"b 127.0.0.2:{port}")
    old = open_all(before, 2)
    closing.append(old)
    after = configured(f"b 127.0.0.1:{port}", f"a 127.0.0.2:{port}")
    new = open_again(old, after, 2)
    closing.append(new)
    for name, host in (("a", "127.0.0.2"), ("b", "127.0.0.1")):
        assert {sock.getsockname() for sock in new.listeners[name]} == {(host, port)}
    assert new_sockets(old, new).listeners.keys() == {"a", "b"}
    close_unused(old, new)
    assert all(sock.fileno() >= 0 for sock in new.all())


def test_if_one_cannot_be_opened_none_is(closing: list[Sockets]) -> None:
    before = configured("a 127.0.0.1:0")
    old = open_all(before, 2)
    closing.append(old)
    count = descriptors()
    with open_socket(configured("x 127.0.0.1:0").listeners[0].bind) as taken:
        after = configured(
            "a 127.0.0.1:0", "b 127.0.0.2:0", f"c 127.0.0.1:{taken.getsockname()[1]}"
        )
        with pytest.raises(BindError, match="in use"):
            open_again(old, after, 2)
    assert descriptors() == count
    assert all(sock.fileno() >= 0 for sock in old.all())


def test_files_of_unix_sockets_go_with_them(tmp_path: Path, closing: list[Sockets]) -> None:
    before = configured(f"a unix:{tmp_path}/a", f"b unix:{tmp_path}/b")
    old = open_all(before, 2)
    after = configured(f"a unix:{tmp_path}/a", f"c unix:{tmp_path}/c")
    new = open_again(old, after, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}
    close_unused(old, new)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}
    new.close()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (False, {"bind": "127.0.0.1:0", "pool": "idp"}),
        ({"bind": "127.0.0.1:0", "pool": "idp"}, False),
        (
            {"bind": "127.0.0.1:0", "pool": "idp"},
            {"bind": "127.0.0.1:0", "pool": "idp", "advertise": {}},
        ),
        (
            {"bind": "127.0.0.1:0", "pool": "idp", "advertise": {}},
            {"bind": "127.0.0.2:0", "pool": "idp", "advertise": {"interval": "1s"}},
        ),
    ],
)
def test_the_sockets_of_mcmp(old: Any, new: Any, closing: list[Sockets]) -> None:
    before, after = (configured("a 127.0.0.1:0", mcmp=each) for each in (old, new))
    was = open_all(before)
    now = open_again(was, after)
    closing += [was, now]
    assert (now.mcmp is not None) == bool(new)
    if old and new and old["bind"] == new["bind"]:
        assert was.mcmp is not None
        assert now.mcmp is not None
        assert now.mcmp.listening is was.mcmp.listening
        assert now.mcmp.sending is not None
    close_unused(was, now)
    assert all(sock.fileno() >= 0 for sock in now.all())


def test_a_child_gets_what_is_new(closing: list[Sockets]) -> None:
    before = configured("a 127.0.0.1:0", "b 127.0.0.2:0")
    was = image(before, open_all(before, 2))
    after = configured(
        *("a 127.0.0.1:0", "c 127.0.0.3:0"),
        admin={"bind": "127.0.0.1:0"},
        mcmp={"bind": "127.0.0.1:0", "pool": "idp", "advertise": {}},
    )
    now = image(after, open_again(was.sockets, after, 2))
    closing += [was.sockets, now.sockets]
    count = descriptors()
    sent = pack(was, now)
    got, new = unpack(was, sent)
    assert new == {"c"}
    assert (got.config, got.keys) == (after, {"idp": b"key"})
    assert got.sockets.listeners["a"] == was.sockets.listeners["a"]
    assert ports(got.sockets) == ports(now.sockets)
    assert port_of(got.sockets.admin) == port_of(now.sockets.admin)
    assert got.sockets.mcmp is not None
    assert got.sockets.mcmp.sending is not None
    assert got.sockets.mcmp.sending.type == socket.SOCK_DGRAM
    assert descriptors() == count + 2 + 1 + 2  # two listening, admin, two of MCMP; not the file
    close_unused(got.sockets, was.sockets)
    assert descriptors() == count


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1), (2, 2)])
def test_a_group_grows_and_shrinks_with_the_workers(
    old: int, new: int, closing: list[Sockets]
) -> None:
    config = configured("a 127.0.0.1:0")
    was = image(config, open_all(config, old))
    now = replace(image(config, open_again(was.sockets, config, new)), workers=new)
    closing += [was.sockets, now.sockets]
    both = min(old, new)
    assert len(now.sockets.listeners["a"]) == new
    assert now.sockets.listeners["a"][:both] == was.sockets.listeners["a"][:both]
    assert len({port_of(sock) for sock in now.sockets.listeners["a"]}) == 1
    got, fresh = unpack(was, pack(was, now))
    assert fresh == frozenset()
    assert got.workers == new
    assert got.sockets.listeners["a"][:both] == was.sockets.listeners["a"][:both]
    assert ports(got.sockets) == ports(now.sockets)
    close_unused(got.sockets, was.sockets)
