"""The advertise listener of a real node hears what lbproxy sends, and what nobody should send."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from queue import Queue
from uuid import UUID, uuid4

import pytest

from lbproxy.config.sources import AdvertiseSettings
from lbproxy.control.mcmp.advertiser import Advertiser
from lbproxy.net.sender import open_sender
from lbproxy.wire.advertise import Advertisement, Reaction, judge, render, salt
from tests.e2e.announced_tomcat import LIBRARIES
from tests.e2e.artifacts import Missing, fetch, tool
from tests.e2e.webapp import JAVA
from tests.integration.namespaces import LINK, Namespace, make_pair
from tests.wire.test_advertise import CASES, SERVER, changed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SOON_S = 30.0
GROUP = "239.255.64.9"


class Node:
    """A JVM with the listener of mod_cluster, on one interface. Raises: Missing."""

    def __init__(self, port: int, interface: str, *key: str, where: Sequence[str] = ()) -> None:
        libraries = ":".join(str(fetch(each)) for each in LIBRARIES)
        self._lines: Queue[str] = Queue()
        self._process = subprocess.Popen(
            [
                *(*where, tool("java"), "-cp", libraries),
                # Names are looked up in that file alone, so that nobody is asked.
                *("-Djdk.net.hosts.file=/dev/null", str(JAVA / "Hear.java")),
                *(GROUP, str(port), interface, *key),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.says() == "listening"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def says(self) -> str:
        """Return the next line: listening, `proxy ADDRESS PORT`, or broken and why."""
        return self._lines.get(timeout=SOON_S)

    def begins_anew(self) -> None:
        """Forget all ids; a listener that broke works again."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        while self.says() != "listening":
            pass

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(SOON_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(SOON_S)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def node(*arguments: object, where: Sequence[str] = ()) -> Node:
    port, *rest = arguments
    assert isinstance(port, int)
    try:
        return Node(port, *map(str, rest), where=where)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def hearing(port: int) -> Iterator[Node]:
    made = node(port, "lo")
    yield made
    made.end()


def sender() -> socket.socket:
    """Return a socket whose datagrams leave by loopback."""
    sock = open_sender(4)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    return sock


def reaction(hearing: Node, port: int, datagram: bytes) -> str:
    """Send a datagram and two good ones; return what the node made of the first.

    The second has the id of the first and another address: it registers only where the first left
    nothing behind. The third registers wherever the node still listens.
    """
    second = render(Advertisement(SERVER, "192.0.2.99", 1111), 1, 0.0, salt(None))
    third = render(Advertisement(uuid4(), "192.0.2.99", 2222), 1, 0.0, salt(None))
    with sender() as sock:
        for each in (datagram, second, third):
            sock.sendto(each, (GROUP, port))
    said: list[str] = []
    while not said or not said[-1].startswith(("broken", "proxy 192.0.2.99 2222")):
        said.append(hearing.says())
    hearing.begins_anew()
    match said:
        case [*_, broken] if broken.startswith("broken"):
            return "breaks"
        case ["proxy 192.0.2.99 1111", _]:
            return "ignores"
        case [_]:
            return "wastes"
        case [proxy, _]:
            return proxy
    raise AssertionError(said)


@pytest.mark.parametrize("name", CASES)
def test_a_node_does_what_the_checker_says(hearing: Node, port: int, name: str) -> None:
    pattern, replacement, expected = CASES[name]
    datagram = changed(pattern, replacement)
    found = reaction(hearing, port, datagram)
    verdict = judge(datagram, salt(None))
    if expected is Reaction.REGISTERS:
        _, address, number = found.split()
        assert ip_address(address) == ip_address(verdict.address)
        assert int(number) == verdict.port
    elif expected is Reaction.WASTES and found.startswith("proxy"):
        # The node tries an address that leads nowhere: a wildcard, a zone, port 0.
        assert re.fullmatch(r"proxy (0\.0\.0\.0 .*|.*%.*|\S+ 0)", found)
    else:
        assert found == expected.value


@pytest.mark.parametrize("key", [(), ("s3cret-key",)])
async def test_a_node_comes_to_what_is_advertised(
    port: int, tmp_path: Path, key: tuple[str, ...]
) -> None:
    settings: dict[str, object] = {"group": f"{GROUP}:{port}", "interval": "50ms"}
    if key:
        (tmp_path / "key").write_text(f"{key[0]}\n")
        settings["key_file"] = str(tmp_path / "key")
    sending = open_sender(4)
    made = Advertiser(
        AdvertiseSettings.model_validate(settings), sending, ("127.0.0.1", 6666), "http"
    )
    hearing = await asyncio.to_thread(node, port, "lo", *key)
    try:
        await made.start()
        assert await asyncio.to_thread(hearing.says) == "proxy 127.0.0.1 6666"
    finally:
        await made.stop()
        sending.close()
        await asyncio.to_thread(hearing.end)


def test_a_node_with_another_key_does_not_come(port: int) -> None:
    hearing = node(port, "lo", "s3cret-key")
    try:
        with sender() as sock:
            for number, key in enumerate((None, b"other", b"s3cret-key"), 1):
                said = Advertisement(UUID(int=number), "192.0.2.10", number)
                sock.sendto(render(said, 1, 0.0, salt(key)), (GROUP, port))
        assert hearing.says() == "proxy 192.0.2.10 3"
    finally:
        hearing.end()


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    made = make_pair()
    yield made
    for each in made:
        each.end()


def test_a_node_on_another_machine(port: int, pair: tuple[Namespace, Namespace]) -> None:
    """It comes to the new address, too, when that of lbproxy changes."""
    here, there = pair
    hearing = node(port, LINK, where=there.command())
    try:
        here.start(
            *("tests.integration.advertise", "0.0.0.0", "6666"),
            f'{{"group": "{GROUP}:{port}", "interval": "100ms"}}',
        )
        assert hearing.says() == "proxy 10.9.0.1 6666"
        here.ip("address", "add", "192.0.2.7/24", "dev", LINK)
        here.ip("address", "del", "10.9.0.1/24", "dev", LINK)
        assert hearing.says() == "proxy 192.0.2.7 6666"
    finally:
        hearing.end()
