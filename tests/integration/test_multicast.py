"""Advertising between two machines, which are network namespaces joined by a cable."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import pytest

from lbproxy.cli.arguments import Exit
from tests.e2e.child import Child
from tests.integration.namespaces import LINK, Namespace, make_pair

SOON_S = 20.0
ADVERTISE = "tests.integration.advertise"
# Imports first: Python itself may lie where only root looks.
NOBODY = """import os, sys
import lbproxy.cli.net, lbproxy.net.switch
os.setuid(65534)
sys.exit(lbproxy.cli.main(sys.argv[1:]))
"""
OFTEN = '"interval": "100ms"'

Pair = tuple[Namespace, Namespace]


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = make_pair()
    yield made
    for each in made:
        each.end()


def advertise(where: Namespace, address: str, *settings: str) -> Child:
    text = ", ".join((OFTEN, *settings))
    return where.start(ADVERTISE, address, "6666", f"{{{text}}}")


def listen(where: Namespace, *more: str) -> Child:
    child = where.start("lbproxy", *("net", "status", "--listen", "50"), *more)
    child.until("^Listening to", SOON_S)
    return child


def heard(child: Child, address: str, words: str, after: int = 0) -> str:
    """Return the id of the first datagram from there on that tells of this address."""
    line = child.until(rf"tells of {re.escape(address)}: a node {words}", SOON_S, after)
    found = re.search(r"id ([0-9a-f-]{36})", line)
    assert found is not None, line
    return found[1]


def state(where: Namespace, *more: str) -> dict[str, dict[str, object]]:
    ran = where.lbproxy("net", "status", "--json", *more)
    assert ran.returncode == Exit.FINE, ran.stderr
    return {each["name"]: each for each in json.loads(ran.stdout)["interfaces"]}


def test_multicast_on_loopback_is_switched_on_and_off(pair: Pair) -> None:
    here, _ = pair
    before = here.shows("link", "show", "dev", "lo"), here.shows("route")
    assert "MULTICAST" not in before[0][0]["flags"]
    assert state(here)["lo"]["missing"] == [
        {"what": "lo has no MULTICAST flag", "command": "lbproxy net enable-multicast lo"}
    ]

    ran = here.lbproxy("net", "enable-multicast", "lo")
    assert (ran.returncode, ran.stdout.splitlines()) == (
        Exit.FINE,
        ["set the MULTICAST flag of lo", "added the route 224.0.0.0/4 dev lo"],
    )
    assert "MULTICAST" in here.shows("link", "show", "dev", "lo")[0]["flags"]
    (route,) = [each for each in here.shows("route") if each["dst"] == "224.0.0.0/4"]
    assert (route["dev"], route["scope"]) == ("lo", "link")
    assert state(here)["lo"]["missing"] == []
    assert "use lo, by the route 224.0.0.0/4." in here.lbproxy("net", "status").stdout

    ran = here.lbproxy("net", "enable-multicast", "lo")
    assert ran.stdout == "nothing to do: lo is ready for multicast\n"

    ran = here.lbproxy("net", "disable-multicast", "lo")
    assert ran.stdout.splitlines() == [
        "removed the route 224.0.0.0/4 dev lo",
        "cleared the MULTICAST flag of lo",
    ]
    assert (here.shows("link", "show", "dev", "lo"), here.shows("route")) == before
    assert here.lbproxy("net", "disable-multicast", "lo").stdout == "nothing to undo at lo\n"


def test_a_network_keeps_the_flag_that_it_was_born_with(pair: Pair) -> None:
    here, _ = pair
    assert here.lbproxy("net", "enable-multicast", LINK).returncode == Exit.FINE
    ran = here.lbproxy("net", "disable-multicast", LINK)
    assert ran.stdout.splitlines()[0] == f"removed the route 224.0.0.0/4 dev {LINK}"
    assert "MULTICAST" in here.shows("link", "show", "dev", LINK)[0]["flags"]


def test_a_route_by_another_interface_is_in_the_way(pair: Pair) -> None:
    here, _ = pair
    here.ip("route", "add", "224.0.0.0/4", "dev", LINK)
    ran = here.lbproxy("net", "enable-multicast", "lo")
    assert ran.returncode == Exit.CONFIGURATION
    assert ran.stderr.startswith(f"lbproxy net: 224.0.0.0/4 leads to {LINK} already; run `ip ")
    assert "MULTICAST" not in here.shows("link", "show", "dev", "lo")[0]["flags"]


@pytest.mark.parametrize("command", ["enable-multicast", "disable-multicast"])
def test_switching_without_permission(pair: Pair, command: str) -> None:
    here, _ = pair
    if command == "disable-multicast":
        here.lbproxy("net", "enable-multicast", "lo")
    ran = here.lbproxy("net", command, "lo", python=("-c", NOBODY))
    assert ran.returncode == Exit.CONFIGURATION
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("lbproxy net: not permitted to change lo; run `sudo ")
    assert line.endswith(f" net {command} lo`")


def test_on_loopback(pair: Pair) -> None:
    """Neither flag nor route is needed by who names the interface, as nodes of today do."""
    here, _ = pair
    ear = listen(here)
    said = advertise(here, "127.0.0.1")
    heard(ear, "127.0.0.1:6666", "registers")
    said.until("advertising 127.0.0.1:6666 on lo; nodes may need: lo has no MULTICAST", SOON_S)


def test_a_node_on_another_machine_registers(pair: Pair) -> None:
    here, there = pair
    ear = listen(there)
    assert state(there)[LINK]["joined"]
    assert not state(here)[LINK]["joined"]
    said = advertise(here, "0.0.0.0")
    server = heard(ear, "10.9.0.1:6666", "registers")
    assert heard(ear, "10.9.0.1:6666", "knows it") == server
    said.until(rf"^INFO advertising 10\.9\.0\.1:6666 on {LINK}$", SOON_S)
    assert "lo" not in " ".join(said.lines)


def test_by_ipv6(pair: Pair) -> None:
    here, there = pair
    group = "[ff15::6bb6]:23364"
    ear = listen(there, "--group", group)
    advertise(here, "::", f'"group": "{group}"')
    heard(ear, "[fd00::1]:6666", "registers")


def test_with_a_key(pair: Pair, tmp_path: Path) -> None:
    here, there = pair
    key = tmp_path / "key"
    key.write_text("s3cret-key\n")
    ear, deaf = listen(there, "--key-file", str(key)), listen(there)
    said = advertise(here, "10.9.0.1", f'"key_file": "{key}"')
    heard(ear, "10.9.0.1:6666", "registers")
    deaf.until("a node ignores it .its digest does not fit the key", SOON_S)
    said.until("security key set", SOON_S)
    assert "s3cret" not in "".join(said.lines + ear.lines + deaf.lines)


def test_a_link_that_goes_and_comes(pair: Pair) -> None:
    here, there = pair
    ear = listen(there)
    said = advertise(here, "0.0.0.0")
    server = heard(ear, "10.9.0.1:6666", "registers")

    here.ip("link", "set", LINK, "down")
    said.until(f"no longer advertising on {LINK}: {LINK} is down", SOON_S)
    seen, spoken = len(ear.lines), len(said.lines)
    here.ip("link", "set", LINK, "up")
    said.until("INFO advertising", SOON_S, spoken)
    assert heard(ear, "10.9.0.1:6666", "knows it", seen) == server

    # The cable comes out at the other end.
    there.ip("link", "set", LINK, "down")
    said.until(f"no longer advertising on {LINK}: {LINK} has no carrier", SOON_S)
    spoken = len(said.lines)
    there.ip("link", "set", LINK, "up")
    said.until("INFO advertising", SOON_S, spoken)

    here.ip("link", "del", LINK)
    said.until(f"no longer advertising on {LINK}: it is gone", SOON_S)


def test_another_address_is_told_with_another_id(pair: Pair) -> None:
    here, there = pair
    ear = listen(there)
    advertise(here, "0.0.0.0")
    before = heard(ear, "10.9.0.1:6666", "registers")
    seen = len(ear.lines)
    here.ip("address", "add", "192.0.2.7/24", "dev", LINK)
    here.ip("address", "del", "10.9.0.1/24", "dev", LINK)
    # The other machine has no way back to that network; it hears all the same.
    assert heard(ear, "192.0.2.7:6666", "registers", seen) != before


def test_an_address_that_moves_between_machines(pair: Pair) -> None:
    """Only the machine that has it advertises it."""
    here, there = pair
    first, second = (advertise(each, "10.9.0.100", f'"interfaces": ["{LINK}"]') for each in pair)
    for child in (first, second):
        child.until("not advertising on .*no interface has the address 10.9.0.100", SOON_S)
    here.ip("address", "add", "10.9.0.100/24", "dev", LINK)
    first.until("INFO advertising 10.9.0.100:6666", SOON_S)
    here.ip("address", "del", "10.9.0.100/24", "dev", LINK)
    first.until("no longer advertising", SOON_S)
    there.ip("address", "add", "10.9.0.100/24", "dev", LINK)
    second.until("INFO advertising 10.9.0.100:6666", SOON_S)


def test_a_strict_reverse_path_drops_what_is_told(pair: Pair) -> None:
    """What the note of `net status` says is so."""
    here, there = pair
    here.ip("address", "add", "192.0.2.7/24", "dev", LINK)
    here.ip("address", "del", "10.9.0.1/24", "dev", LINK)
    there.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    for name in ("other0", "other1"):
        there.ip("link", "set", name, "up")
    there.ip("route", "add", "192.0.2.0/24", "dev", "other0")
    strict(there, 1)
    assert state(there)[LINK]["notes"] == [
        {"what": ANY, "command": f"sysctl -w net.ipv4.conf.{LINK}.rp_filter=2"}
    ]
    advertise(here, "0.0.0.0").until("INFO advertising 192.0.2.7", SOON_S)
    ran = there.lbproxy("net", "status", "--listen", "1", "--interface", LINK)
    assert ran.returncode == Exit.CONFIGURATION
    assert "Nothing was heard" in ran.stdout
    strict(there, 2)
    heard(listen(there), "192.0.2.7:6666", "registers")


def strict(where: Namespace, value: int) -> None:
    path = f"/proc/sys/net/ipv4/conf/{LINK}/rp_filter"
    ran = where.lbproxy(python=("-c", f"open({path!r}, 'w').write('{value}')"))
    assert ran.returncode == 0, ran.stderr
