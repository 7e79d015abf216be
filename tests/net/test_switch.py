"""Turning multicast on and off over a kernel of the test's. The real one: in namespaces."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, ip_address

import pytest

from lbproxy.net import switch as multicast_switch
from lbproxy.net.interfaces import Address, Interface, Route
from lbproxy.net.switch import NETWORK, SwitchError, disable, enable

BOOT = 3


@dataclass
class Kernel:
    """Links and routes. `permitted`: False refuses every change."""

    interfaces: list[Interface] = field(
        default_factory=lambda: [
            Interface(
                *(1, "lo"),
                loopback=True,
                multicast=False,
                addresses=(Address(ip_address("127.0.0.1"), 8),),
            ),
            Interface(2, "eth0"),
            Interface(3, "dummy0", multicast=False),
        ]
    )
    routes: list[Route] = field(default_factory=list)
    permitted: bool = True

    def read_interfaces(self) -> tuple[Interface, ...]:
        return tuple(self.interfaces)

    def read_routes(self, network: IPv4Network) -> tuple[Route, ...]:
        return tuple(self.routes)

    def set_multicast(self, index: int, on: bool) -> None:
        self._change()
        (at,) = [n for n, each in enumerate(self.interfaces) if each.index == index]
        self.interfaces[at] = replace(self.interfaces[at], multicast=on)

    def add_route(self, route: Route) -> None:
        self._change()
        assert not self.routes
        self.routes.append(route)

    def remove_route(self, route: Route) -> None:
        self._change()
        self.routes.remove(route)

    def flags(self) -> dict[str, bool]:
        return {each.name: each.multicast for each in self.interfaces}

    def _change(self) -> None:
        if not self.permitted:
            raise PermissionError(1, "Operation not permitted")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    for name in (
        *("read_interfaces", "read_routes", "set_multicast"),
        *("add_route", "remove_route"),
    ):
        monkeypatch.setattr(multicast_switch, name, getattr(made, name))
    return made


@pytest.mark.parametrize("name", ["lo", "eth0", "dummy0"])
def test_off_undoes_exactly_what_on_did(kernel: Kernel, name: str) -> None:
    before = kernel.flags()
    assert enable(name)[-1] == f"added the route 224.0.0.0/4 dev {name}"
    assert kernel.flags()[name]
    assert [route.network for route in kernel.routes] == [NETWORK]
    assert enable(name) == ()
    done, left = disable(name)
    assert done[0] == f"removed the route 224.0.0.0/4 dev {name}"
    assert kernel.routes == []
    assert kernel.flags() == before
    assert [lack.command for lack in left] == (
        ["ip link set dev eth0 multicast off"] if name == "eth0" else []
    )


def test_on_sets_what_is_missing(kernel: Kernel) -> None:
    assert enable("lo") == (
        "set the MULTICAST flag of lo",
        "added the route 224.0.0.0/4 dev lo",
    )
    assert enable("lo") == ()


def test_off_without_anything_to_undo(kernel: Kernel) -> None:
    assert disable("lo") == ((), ())
    assert disable("dummy0") == ((), ())


def test_a_route_of_somebody_else_stays(kernel: Kernel) -> None:
    theirs = Route(NETWORK, 1, BOOT)
    kernel.routes = [theirs]
    assert enable("lo") == ("set the MULTICAST flag of lo",)
    done, left = disable("lo")
    assert done == ()
    assert kernel.routes == [theirs]
    assert [lack.command for lack in left] == [
        "ip route del 224.0.0.0/4 dev lo",
        "ip link set dev lo multicast off",
    ]


def test_a_flag_of_somebody_else_stays(kernel: Kernel) -> None:
    """IPv6 cannot live without it on a network."""
    kernel.set_multicast(3, True)
    enable("dummy0")
    done, left = disable("dummy0")
    assert done == ("removed the route 224.0.0.0/4 dev dummy0",)
    assert kernel.flags()["dummy0"]
    assert left[0].what == "the MULTICAST flag of dummy0 was not set by lbproxy"


def test_a_route_by_another_interface_is_in_the_way(kernel: Kernel) -> None:
    kernel.routes = [Route(NETWORK, 2, BOOT)]
    with pytest.raises(SwitchError) as raised:
        enable("lo")
    assert raised.value.lack.what == "224.0.0.0/4 leads to eth0 already"
    assert raised.value.lack.command == "ip route del 224.0.0.0/4 dev eth0"
    assert not kernel.flags()["lo"]
    kernel.routes = [Route(NETWORK, 99, BOOT)]
    with pytest.raises(SwitchError, match="interface 99"):
        enable("lo")


def test_an_interface_that_is_down(kernel: Kernel) -> None:
    kernel.interfaces[2] = replace(kernel.interfaces[2], up=False)
    with pytest.raises(SwitchError, match="ip link set dev dummy0 up"):
        enable("dummy0")
    assert not kernel.flags()["dummy0"]


@pytest.mark.parametrize("switch", [enable, disable])
def test_an_interface_that_is_not_there(kernel: Kernel, switch: type) -> None:
    with pytest.raises(SwitchError, match="there is no interface eth7"):
        switch("eth7")


def test_without_permission(kernel: Kernel) -> None:
    kernel.permitted = False
    with pytest.raises(PermissionError):
        enable("lo")
    kernel.routes = [Route(NETWORK, 1, multicast_switch.ROUTE_AND_FLAG)]
    with pytest.raises(PermissionError):
        disable("lo")
