"""Where to advertise, what to say there, and what is missing elsewhere."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from lbproxy.net.interfaces import Address, Interface
from lbproxy.net.multicast import (
    DEFAULT_GROUP,
    NOWHERE,
    Group,
    Lack,
    Place,
    no_flag,
    parse_group,
    plan,
)

GROUP_V6 = parse_group("[ff15::1]:23364")
ANY, ANY_V6 = ip_address("0.0.0.0"), ip_address("::")


def address(text: str, *, prefix: int = 24, **changes: bool) -> Address:
    return Address(ip_address(text), prefix, **changes)


LO = Interface(
    *(1, "lo"),
    multicast=False,
    loopback=True,
    addresses=(address("127.0.0.1", local=True), address("::1", local=True)),
)
ETH0 = Interface(
    *(2, "eth0"),
    addresses=(address("192.0.2.5"), address("fe80::1"), address("2001:db8::5")),
)
ETH1 = Interface(3, "eth1", addresses=(address("10.0.0.5"), address("fe80::2")))
ALL = (LO, ETH0, ETH1)


def places(bound: str, *wanted: str, group: Group = DEFAULT_GROUP) -> dict[str, str]:
    """What is advertised, and from where; or what is missing."""
    found = plan(ALL, group, ip_address(bound), wanted)
    return {
        name: f"{each.advertised} from {each.source}" if isinstance(each, Place) else str(each)
        for name, each in found.items()
    }


@pytest.mark.parametrize(
    ("text", "ip", "port"),
    [
        ("224.0.1.105:23364", "224.0.1.105", 23364),
        ("239.1.2.3:1", "239.1.2.3", 1),
        ("[ff15::1]:65535", "ff15::1", 65535),
    ],
)
def test_groups(text: str, ip: str, port: int) -> None:
    group = parse_group(text)
    assert group == Group(ip_address(ip), port)
    assert str(group) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "224.0.1.105", "192.0.2.1:23364", "224.0.1.105:0", "224.0.1.105:65536"),
        *("224.0.1.105:x", "[2001:db8::1]:23364", "group:23364"),
    ],
)
def test_what_is_no_group(text: str) -> None:
    with pytest.raises(ValueError, match=r"224\.0\.1\.105:23364"):
        parse_group(text)


def test_a_wildcard_advertises_each_interface_s_own_address() -> None:
    assert places("0.0.0.0") == {
        "eth0": "192.0.2.5 from 192.0.2.5",
        "eth1": "10.0.0.5 from 10.0.0.5",
    }


def test_an_ipv6_wildcard_prefers_the_family_of_the_group() -> None:
    assert places("::", group=GROUP_V6) == {
        "eth0": "2001:db8::5 from 2001:db8::5",
        # Its only IPv6 address means nothing without a zone.
        "eth1": "10.0.0.5 from fe80::2",
    }
    assert places("::")["eth0"] == "192.0.2.5 from 192.0.2.5"


def test_an_ipv4_wildcard_is_not_reached_by_ipv6() -> None:
    assert places("0.0.0.0", group=GROUP_V6)["eth0"] == "192.0.2.5 from 2001:db8::5"


def test_an_address_is_advertised_where_it_is() -> None:
    """Nobody in the network of eth0 is told of the inner network unless that was asked for."""
    assert places("10.0.0.5") == {"eth1": "10.0.0.5 from 10.0.0.5"}
    assert places("10.0.0.5", "eth0") == {"eth0": "10.0.0.5 from 192.0.2.5"}


@pytest.mark.parametrize("bound", ["127.0.0.1", "127.0.42.1"])
def test_loopback_is_advertised_on_loopback(bound: str) -> None:
    """Without the flag, too: the kernel does not ask for it."""
    (found,) = places(bound).values()
    assert found.startswith(f"{bound} from ")
    assert no_flag(LO) == Lack("lo has no MULTICAST flag", "lbproxy net enable-multicast lo")


def test_loopback_by_ipv6() -> None:
    assert places("::1") == {"lo": "::1 from 127.0.0.1"}
    assert places("::1", group=GROUP_V6) == {
        "lo": "IPv6 multicast does not work on lo: use an IPv4 group"
    }


def test_loopback_with_a_wildcard_only_if_asked_for() -> None:
    assert "lo" not in places("0.0.0.0")
    assert places("0.0.0.0", "lo") == {"lo": "127.0.0.1 from 127.0.0.1"}


def test_loopback_s_address_is_not_told_to_others() -> None:
    assert places("127.0.0.1", "eth0") == {
        "eth0": "nobody beyond this machine reaches 127.0.0.1: bind mcmp to one of eth0"
    }


@pytest.mark.parametrize("wanted", [(), ("eth0", "eth1")])
def test_an_address_that_is_elsewhere_now(wanted: tuple[str, ...]) -> None:
    """Of two machines that share an address only the one that has it advertises it."""
    missing = "no interface has the address 10.0.0.9; see `ip -brief address`"
    assert places("10.0.0.9", *wanted) == dict.fromkeys(wanted or (NOWHERE,), missing)


def test_names_that_do_not_exist_or_come_twice() -> None:
    assert places("0.0.0.0", "eth9", "eth0", "eth0") == {
        "eth9": "there is no interface eth9; see `ip -brief link`",
        "eth0": "192.0.2.5 from 192.0.2.5",
    }


@pytest.mark.parametrize(
    ("interface", "missing"),
    [
        (replace(ETH0, up=False), "eth0 is down; run `ip link set dev eth0 up`"),
        (replace(ETH0, running=False), "eth0 has no carrier: look at its cable, or the other end"),
        (
            replace(ETH0, addresses=()),
            "eth0 has no IPv4 address, which the group 224.0.1.105 needs; "
            "run `ip address add ADDRESS/PREFIX dev eth0`",
        ),
        (
            replace(ETH0, addresses=(address("192.0.2.5", lasting=False),)),
            "eth0 has no IPv4 address, which the group 224.0.1.105 needs; "
            "run `ip address add ADDRESS/PREFIX dev eth0`",
        ),
    ],
)
def test_what_is_missing_at_an_interface(interface: Interface, missing: str) -> None:
    found = plan((interface,), DEFAULT_GROUP, ANY, ["eth0"])
    assert {name: str(each) for name, each in found.items()} == {"eth0": missing}
    # Unasked, nobody wants to hear of an interface that is not ready.
    (lack,) = plan((interface,), DEFAULT_GROUP, ANY, ()).values()
    assert str(lack) == (
        "no interface is up with the MULTICAST flag and an address; see `lbproxy net status`"
    )


def test_without_the_flag_only_if_asked_for() -> None:
    bare = replace(ETH0, multicast=False)
    assert list(plan((bare,), DEFAULT_GROUP, ANY, ())) == [NOWHERE]
    assert isinstance(plan((bare,), DEFAULT_GROUP, ANY, ["eth0"])["eth0"], Place)


def test_nothing_to_advertise_but_link_local() -> None:
    only = replace(ETH0, addresses=(address("fe80::1"),))
    found = plan((only,), GROUP_V6, ANY_V6, ["eth0"])["eth0"]
    assert str(found).startswith("eth0 has no address that nodes could come to")


def test_the_first_address_that_lasts_is_taken() -> None:
    many = replace(
        ETH0,
        addresses=(
            address("192.0.2.1", lasting=False),
            address("169.254.0.1"),
            address("192.0.2.2", primary=False),
            address("192.0.2.3"),
            address("192.0.2.4"),
        ),
    )
    found = plan((many,), DEFAULT_GROUP, ANY, ())["eth0"]
    assert isinstance(found, Place)
    assert found.advertised == found.source == IPv4Address("192.0.2.3")


def test_an_interface_holds_its_addresses_and_loopback_all_of_127() -> None:
    assert ETH0.holds(IPv6Address("fe80::1"))
    assert not ETH0.holds(IPv4Address("10.0.0.5"))
    assert LO.holds(IPv4Address("127.9.9.9"))
