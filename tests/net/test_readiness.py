"""What is ready for multicast: reading /proc, and what is said to be missing."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

import pytest

from lbproxy.net import readiness as multicast_state
from lbproxy.net.interfaces import Address, Interface, Route
from lbproxy.net.multicast import DEFAULT_GROUP, Lack, parse_group
from lbproxy.net.readiness import (
    InterfaceReadiness,
    Readiness,
    joined_v4,
    joined_v6,
    read_readiness,
)

ETH0 = Interface(2, "eth0.10", addresses=(Address(ip_address("192.0.2.5"), 24),))
LO = Interface(
    *(1, "lo"), loopback=True, multicast=False, addresses=(Address(ip_address("127.0.0.1"), 8),)
)
IGMP = """\
Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0.10   :     2      V3
\t\t\t\t690100E0     1 0:00000000\t\t0
\t\t\t\t010000E0     1 0:00000000\t\t0
"""
IGMP6 = """\
1    lo              ff020000000000000000000000000001     1 0000000C 0
2    eth0.10         ff150000000000000000000000000001     1 00000004 0
"""


@pytest.mark.skipif(sys.byteorder == "big", reason="the example is of a little-endian machine")
def test_who_has_joined_by_ipv4() -> None:
    assert joined_v4(IGMP, IPv4Address("224.0.1.105")) == {"eth0.10"}
    assert joined_v4(IGMP, IPv4Address("224.0.0.1")) == {"lo", "eth0.10"}
    assert joined_v4(IGMP, IPv4Address("239.0.0.1")) == frozenset()


def test_who_has_joined_by_ipv6() -> None:
    assert joined_v6(IGMP6, IPv6Address("ff15::1")) == {"eth0.10"}
    assert joined_v6(IGMP6, IPv6Address("ff15::2")) == frozenset()


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "1\n\t\tx"])
def test_a_table_of_another_kernel_is_no_error(text: str) -> None:
    assert joined_v4(f"Idx\n{text}", IPv4Address("224.0.1.105")) == frozenset()
    assert joined_v6(text, IPv6Address("ff15::1")) == frozenset()


def state(
    monkeypatch: pytest.MonkeyPatch, proc: Path, route: Route | None, group: str | None = None
) -> tuple[Readiness, dict[str, InterfaceReadiness]]:
    monkeypatch.setattr(multicast_state, "read_interfaces", lambda: (LO, ETH0))
    monkeypatch.setattr(multicast_state, "route_to", lambda ip: route)
    found = read_readiness(DEFAULT_GROUP if group is None else parse_group(group), proc)
    return found, {each.interface.name: each for each in found.interfaces}


def filters(proc: Path, **values: str) -> None:
    for name, value in values.items():
        folder = proc / "sys/net/ipv4/conf" / name.replace("_", ".")
        folder.mkdir(parents=True)
        (folder / "rp_filter").write_text(value)


def test_a_machine_without_a_route(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found, by_name = state(monkeypatch, tmp_path, None)
    assert (found.route, found.device) == (None, "")
    assert found.missing[0].command == "lbproxy net enable-multicast INTERFACE"
    assert by_name["lo"].missing == (
        Lack("lo has no MULTICAST flag", "lbproxy net enable-multicast lo"),
    )
    assert by_name["eth0.10"].missing == by_name["eth0.10"].notes == ()


def test_a_machine_that_is_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/igmp").write_text(IGMP)
    (tmp_path / "net/igmp6").write_text(IGMP6)
    found, by_name = state(monkeypatch, tmp_path, Route(IPv4Network("0.0.0.0/0"), 2))
    assert (found.device, found.missing) == ("eth0.10", ())
    if sys.byteorder == "little":
        assert (by_name["lo"].joined, by_name["eth0.10"].joined) == (False, True)
    _, by_name = state(monkeypatch, tmp_path, None, "[ff15::1]:1")
    assert (by_name["lo"].joined, by_name["eth0.10"].joined) == (False, True)


@pytest.mark.parametrize(
    ("every", "own", "strict"),
    [("0", "1", True), ("1", "0", True), ("1", "2", False), ("0", "0", False), ("x", "0", False)],
)
def test_a_strict_reverse_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, every: str, own: str, strict: bool
) -> None:
    """The kernel takes the larger value of the two; 2 is loose."""
    filters(tmp_path, all=every, eth0_10=own, lo="1")
    _, by_name = state(monkeypatch, tmp_path, None)
    commands = [lack.command for lack in by_name["eth0.10"].notes]
    assert commands == ["sysctl -w net.ipv4.conf.eth0/10.rp_filter=2"] * strict
    assert by_name["lo"].notes == ()
    _, by_name = state(monkeypatch, tmp_path, None, "[ff15::1]:1")
    assert by_name["eth0.10"].notes == ()
