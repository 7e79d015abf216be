"""The advertiser on loopback, over interfaces of the test's, heard by a real socket."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from lbproxy.config.sources import AdvertiseSettings
from lbproxy.control.mcmp import advertiser as module
from lbproxy.control.mcmp.advertiser import AdvertiseError, Advertiser, read_key
from lbproxy.net.interfaces import Address, Interface
from lbproxy.net.sender import open_sender, send_by
from lbproxy.net.watch import Interfaces
from lbproxy.wire.advertise import Judgement, Reaction, judge, salt

GROUP = "239.255.64.5"
LO = Interface(
    *(1, "lo"),
    multicast=False,
    loopback=True,
    addresses=(Address(ip_address("127.0.0.1"), 8, local=True),),
)
ONCE = 3600.0  # no second datagram during a test


class Machine(Interfaces):
    """Interfaces that a test sets."""

    def __init__(self, *interfaces: Interface) -> None:
        self._now = interfaces
        self._on_change: Callable[[], None] | None = None

    def start(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change

    def interfaces(self) -> tuple[Interface, ...]:
        return self._now

    def stop(self) -> None:
        self._on_change = None

    def become(self, *interfaces: Interface) -> None:
        self._now = interfaces
        assert self._on_change is not None
        self._on_change()

    @property
    def watched(self) -> bool:
        return self._on_change is not None


class Node:
    """Hears the group on loopback as a node does, and remembers ids."""

    def __init__(self, key: bytes | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((GROUP, 0))
        self.socket.setblocking(False)
        membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self.salted = salt(key)
        self.known: dict[str, str] = {}
        self.datagrams: list[bytes] = []

    @property
    def group(self) -> str:
        return f"{GROUP}:{self.socket.getsockname()[1]}"

    async def hears(self) -> Judgement:
        datagram = await asyncio.get_running_loop().sock_recv(self.socket, 2048)
        self.datagrams.append(datagram)
        verdict = judge(datagram, self.salted, self.known)
        if verdict.reaction is Reaction.REGISTERS:
            self.known[verdict.server] = f"{verdict.address}:{verdict.port}"
        return verdict

    def silent(self) -> bool:
        """Loopback delivers while it is sent to: what was sent is there."""
        try:
            self.socket.recv(2048)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def node() -> Any:
    made = Node()
    yield made
    made.socket.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "lbproxy.advertise")

    def messages() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    return messages


Begin = Callable[..., Any]


@pytest.fixture
def sending() -> Iterator[socket.socket]:
    with open_sender(4) as sock:
        yield sock


@pytest.fixture
async def begin(node: Node, sending: socket.socket) -> AsyncIterator[Begin]:
    """Start an advertiser at an address; it ends with the test."""
    started: list[Advertiser] = []

    async def start(
        machine: Machine,
        address: str = "127.0.0.1",
        now: Callable[[], float] = time.time,
        new_id: Callable[[], UUID] = uuid4,
        **changes: object,
    ) -> Advertiser:
        settings = AdvertiseSettings.model_validate(
            {"group": node.group, "interval": ONCE} | changes
        )
        made = Advertiser(
            *(settings, sending, (address, 6666), "https"),
            machine=machine,
            now=now,
            new_id=new_id,
        )
        started.append(made)
        await made.start()
        return made

    yield start
    for each in started:
        await each.stop()


async def test_the_first_datagram_comes_at_once(begin: Begin, node: Node) -> None:
    await begin(Machine(LO), now=lambda: 1_704_164_645.9)
    verdict = await node.hears()
    assert (verdict.reaction, verdict.address, verdict.port) == (
        Reaction.REGISTERS,
        "127.0.0.1",
        6666,
    )
    lines = node.datagrams[0].decode().split("\r\n")
    assert lines[1:3] == ["Date: Tue, 02 Jan 2024 03:04:05 GMT", "Sequence: 1"]
    assert "X-Manager-Protocol: https" in lines
    assert UUID(verdict.server).version == 4


async def test_the_sequence_counts_up_at_every_interval(begin: Begin, node: Node) -> None:
    await begin(Machine(LO), interval="1ms")
    verdicts = [await node.hears() for _ in range(5)]
    assert len({verdict.server for verdict in verdicts}) == 1
    assert all(verdict.accepted for verdict in verdicts)
    sequences = [datagram.decode().split("\r\n")[2] for datagram in node.datagrams]
    assert sequences == [f"Sequence: {number}" for number in range(1, 6)]


async def test_a_late_turn_of_the_loop_makes_later_ones_not_late(
    node: Node, sending: socket.socket
) -> None:
    """Datagrams keep to their times, and those that were missed are not made up for."""
    loop = asyncio.get_running_loop()
    settings = AdvertiseSettings.model_validate({"group": node.group, "interval": "10s"})
    made = Advertiser(settings, sending, ("127.0.0.1", 6666), "http", machine=Machine(LO))
    await made.start()
    try:
        began = made._due - 10.0
        for due in (20.0, 60.0):
            # As if the loop came to it 0.5 s late, the second time 35.5 s.
            late = began + due - 9.5
            assert made._timer is not None
            made._timer.cancel()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loop, "time", lambda late=late: late)
                made._tick()
            assert made._due == pytest.approx(began + due)
    finally:
        await made.stop()


async def test_each_start_has_an_id_of_its_own(begin: Begin, node: Node) -> None:
    first, second = [(await begin(Machine(LO)), await node.hears())[1] for _ in range(2)]
    assert first.server != second.server


async def test_with_a_key(
    begin: Begin, node: Node, tmp_path: Path, log: Callable[[], list[str]]
) -> None:
    (tmp_path / "key").write_text("s3cret-key\r\n")
    await begin(Machine(LO), key_file=str(tmp_path / "key"))
    verdict = await node.hears()
    assert verdict.reaction is Reaction.IGNORES  # a node without the key
    assert judge(node.datagrams[0], salt(b"s3cret-key")).reaction is Reaction.REGISTERS
    assert log() == [
        f"advertising the MCMP listener to {node.group} every 1h; security key set",
        "advertising 127.0.0.1:6666 on lo; nodes may need: lo has no MULTICAST flag; "
        "run `lbproxy net enable-multicast lo`",
    ]


async def test_without_a_key_it_says_so(begin: Begin, log: Callable[[], list[str]]) -> None:
    await begin(Machine(replace(LO, multicast=True)))
    beginning, joined = log()
    assert beginning.endswith("every 1h; security key not set")
    assert joined == "advertising 127.0.0.1:6666 on lo"


async def test_another_address_has_another_id(
    begin: Begin, node: Node, log: Callable[[], list[str]]
) -> None:
    """A node acts on an id once: with the old one it would keep the address that is gone."""
    machine = Machine(LO)
    await begin(machine, "0.0.0.0", interfaces=["lo"])
    first = await node.hears()
    log()
    moved = replace(LO, addresses=(Address(ip_address("127.0.0.2"), 8, local=True),))
    machine.become(moved)
    second = await node.hears()
    assert second.reaction is Reaction.REGISTERS
    assert (first.address, second.address) == ("127.0.0.1", "127.0.0.2")
    assert first.server != second.server
    assert "\r\nSequence: 1\r\n" in node.datagrams[1].decode()
    assert [line.split(";")[0] for line in log()] == ["advertising 127.0.0.2:6666 on lo"]


async def test_a_link_that_was_down_comes_back_with_its_id(
    begin: Begin, node: Node, log: Callable[[], list[str]]
) -> None:
    """With a new one each time, nodes would remember more and more of them."""
    machine = Machine(LO)
    await begin(machine)
    first = await node.hears()
    log()
    machine.become(replace(LO, up=False))
    machine.become(replace(LO, up=False))
    assert log() == ["no longer advertising on lo: lo is down; run `ip link set dev lo up`"]
    machine.become(LO)
    second = await node.hears()
    assert second.reaction is Reaction.KNOWS
    assert second.server == first.server
    assert "\r\nSequence: 2\r\n" in node.datagrams[1].decode()


async def test_a_link_that_is_another_one_now_has_another_id(begin: Begin, node: Node) -> None:
    machine = Machine(LO)
    await begin(machine)
    first = await node.hears()
    machine.become()
    machine.become(LO)
    assert (await node.hears()).server != first.server


async def test_while_down_nothing_is_sent(begin: Begin, node: Node) -> None:
    machine = Machine(LO)
    made = await begin(machine)
    await node.hears()
    machine.become(replace(LO, running=False))
    made._tick()
    assert node.silent()


async def test_a_change_elsewhere_changes_nothing(
    begin: Begin, node: Node, log: Callable[[], list[str]]
) -> None:
    machine = Machine(LO)
    await begin(machine)
    await node.hears()
    log()
    machine.become(LO, Interface(7, "veth7", up=False))
    assert node.silent()
    assert log() == []


async def test_what_is_missing_is_said_once(begin: Begin, log: Callable[[], list[str]]) -> None:
    machine = Machine(LO)
    await begin(machine, interfaces=["eth9"])
    missing = "not advertising on eth9: there is no interface eth9; see `ip -brief link`"
    assert missing in log()
    machine.become(LO)
    assert log() == []
    machine.become(LO, Interface(9, "eth9", up=False))
    assert log() == ["not advertising on eth9: eth9 is down; run `ip link set dev eth9 up`"]


async def test_nothing_to_advertise_on(begin: Begin, log: Callable[[], list[str]]) -> None:
    machine = Machine()
    await begin(machine, "0.0.0.0")
    assert log()[1:] == [
        "not advertising anywhere: no interface is up with the MULTICAST flag and an address; "
        "see `lbproxy net status`"
    ]


async def test_an_interface_that_fits_no_more(begin: Begin, log: Callable[[], list[str]]) -> None:
    eth = Interface(1, "eth0", addresses=(Address(ip_address("127.0.0.1"), 8),))
    machine = Machine(eth)
    await begin(machine, "0.0.0.0")
    log()
    machine.become(replace(eth, multicast=False))
    assert log()[0] == (
        "no longer advertising on eth0: eth0 has no MULTICAST flag; "
        "run `lbproxy net enable-multicast eth0`"
    )
    machine.become(eth)
    log()
    machine.become()
    assert log()[0] == "no longer advertising on eth0: it is gone"


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        (errno.EPERM, "Operation not permitted; a firewall of this machine refuses it"),
        (errno.ENOBUFS, "No buffer space available; its queue is full"),
        (errno.ENETUNREACH, "Network is unreachable; look at `lbproxy net status`"),
    ],
)
async def test_what_goes_wrong_is_said_once_and_tried_again(
    begin: Begin,
    node: Node,
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    helps: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(module, "send_by", refuse)
    made = await begin(Machine(LO))
    made._tick()
    said = [line for line in log() if line.startswith("cannot")]
    assert len(said) == 1
    assert said[0].startswith(f"cannot advertise on lo: {helps}")
    monkeypatch.setattr(module, "send_by", send_by)
    made._tick()
    assert (await node.hears()).reaction is Reaction.REGISTERS
    assert log() == ["advertising on lo again"]


async def test_after_stop_nothing_is_sent_or_watched(begin: Begin, node: Node) -> None:
    machine = Machine(LO)
    made = await begin(machine, interval="1ms")
    await node.hears()
    await made.stop()
    await made.stop()
    assert not machine.watched
    while not node.silent():
        pass
    await asyncio.sleep(0.02)
    assert node.silent()


async def test_ids_come_from_where_they_are_said_to(begin: Begin, node: Node) -> None:
    ids = map(UUID, (f"{n:032x}" for n in itertools.count(1)))
    await begin(Machine(LO), new_id=lambda: next(ids))
    assert (await node.hears()).server == "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        ("schlüssel".encode(), "ASCII only"),
        (b"two\nlines\n", "ASCII only"),
        (None, "No such file"),
    ],
)
def test_a_key_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AdvertiseError, match=message) as raised:
        read_key(str(path))
    assert str(raised.value).startswith(f"mcmp.advertise.key_file {path}")


@pytest.mark.parametrize("content", [b"key", b"key\n", b"key\r\n"])
def test_a_key_ends_before_the_end_of_its_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert read_key(str(tmp_path / "key")) == b"key"


@pytest.mark.parametrize("address", ["fe80::1%lo", "fe80::1", "224.0.0.1", "localhost"])
def test_an_address_that_nodes_could_not_come_to(address: str, sending: socket.socket) -> None:
    with pytest.raises(AdvertiseError, match=r"mcmp\.bind .* cannot be advertised: "):
        Advertiser(AdvertiseSettings(), sending, (address, 6666), "http", machine=Machine())


def test_a_group_that_is_none(sending: socket.socket) -> None:
    with pytest.raises(AdvertiseError, match="no multicast group"):
        Advertiser(
            AdvertiseSettings(group="10.0.0.1:23364"),
            sending,
            ("127.0.0.1", 6666),
            "http",
            machine=Machine(),
        )
