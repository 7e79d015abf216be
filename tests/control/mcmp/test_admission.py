"""Which nodes may join, and at which address: the rules of the MCMP reference, 3.3, 10 and 12."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from lbproxy.cluster.node import Node, NodeTls, Reported, Source, Tuning
from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.access import make_peer
from lbproxy.control.mcmp.admission import Admission, balancer_settings
from lbproxy.wire.mcmp import AnnouncedBalancer, AnnouncedNode, McmpFault, Refused

TOLD = AnnouncedNode("kc1", host="10.1.0.9", port=8080, scheme="http")
NODE_PEER = "10.1.0.9"


class Inn:
    """An admission with scripted names. `known`: where nodes are that have joined."""

    def __init__(self, **more: object) -> None:
        given = {"bind": "10.1.0.5:6666", "pool": "idp", "allow": ["10.1.0.0/16"]} | more
        self.names = {
            "kc1.example.test": ("192.0.2.7", "10.1.0.8", "10.1.0.7"),
            "rebound.example.test": ("192.0.2.7", "127.0.0.1"),
        }
        self.known: dict[str, str] = {}
        self.admission = Admission(
            McmpSettings.model_validate(given), self._resolve, lambda route: self.known.get(route)
        )

    async def _resolve(self, name: str) -> tuple[str, ...]:
        return self.names.get(name, ())

    async def node(self, told: AnnouncedNode = TOLD, peer: str = NODE_PEER, **more: object) -> Node:
        told = replace(told, **more)  # type: ignore[arg-type]
        return await self.admission.node(told, "b", make_peer((peer, 4000)), Source.MCMP)

    async def fault(
        self, told: AnnouncedNode = TOLD, peer: str = NODE_PEER, **more: object
    ) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.node(told, peer, **more)
        return caught.value


@pytest.fixture
def inn() -> Inn:
    return Inn()


async def test_a_node_begins_in_quarantine_not_ready_and_serving_nothing(inn: Inn) -> None:
    node = await inn.node(
        domain="east", ping_s=5.0, smax=3, ttl_s=30.0, timeout_s=7.0, flush="on", flush_wait_ms=2
    )
    assert node == Node(
        *("idp", "kc1", "kc1", "http", "10.1.0.9", 8080),
        source=Source.MCMP,
        reason="announced; not probed yet",
        quarantined=True,
        reported=Reported.AWAITED,
        virtual_hosts=(),
        balancer="b",
        domain="east",
        tuning=Tuning(7.0, 5.0, 3, 30.0, "on", 2),
    )
    assert not node.usable


async def test_what_a_node_leaves_open_is_left_to_the_pool(inn: Inn) -> None:
    assert (await inn.node()).tuning == Tuning()


async def test_no_node_makes_clients_wait_for_years(inn: Inn) -> None:
    tuning = (await inn.node(ping_s=1e9, timeout_s=1e9)).tuning
    assert tuning == Tuning(response_s=3600.0, ping_s=60.0)
    assert balancer_settings(AnnouncedBalancer(wait_s=1e9)).wait_s == 60.0


@pytest.mark.parametrize("scheme", ["ws", "wss", "ftp", "fcgi"])
async def test_other_types_are_hopeless_and_the_message_says_what_to_do(
    inn: Inn, scheme: str
) -> None:
    refused = await inn.fault(scheme=scheme)
    assert refused.fault is McmpFault.SYNTAX
    assert "http, https or ajp" in refused.message


async def test_ajp_nodes_get_the_secret_and_https_nodes_are_verified() -> None:
    inn = Inn(
        secret_file="ajp.secret",
        packet_size="16KiB",
        node_tls={"ca": "ca.pem", "server_name": "idp.internal"},
    )
    assert (await inn.node(scheme="ajp")).secret_file == "ajp.secret"
    assert (await inn.node(scheme="ajp")).packet_size == 16 << 10
    assert (await inn.node()).secret_file is None
    assert (await inn.node()).tls == NodeTls()
    assert (await inn.node(scheme="https")).tls == NodeTls("ca.pem", "idp.internal")


@pytest.mark.parametrize(
    "host", ["10.2.0.1", "192.0.2.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1"]
)
async def test_a_node_elsewhere_is_refused_but_may_come_again(inn: Inn, host: str) -> None:
    refused = await inn.fault(host=host)
    assert refused.fault is McmpFault.MEM
    assert f"address {host} of node kc1" in refused.message
    assert "mcmp.node_networks" in refused.message


async def test_loopback_is_for_nodes_on_this_machine(
    inn: Inn, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await inn.node(peer="127.0.0.1", host="127.0.0.1")).host == "127.0.0.1"
    assert not caplog.records
    await inn.fault(host="127.0.0.1")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "announces the loopback address 127.0.0.1" in record.getMessage()
    assert "10.1.0.9:4000" in record.getMessage()


async def test_loopback_from_elsewhere_is_taken_where_it_is_listed_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inn = Inn(node_networks=["127.0.0.0/8"])
    assert (await inn.node(host="127.0.0.1")).host == "127.0.0.1"
    assert "loopback" in caplog.text
    await inn.fault()  # the list is the whole of it


async def test_listed_networks_hold_for_this_machine_as_well() -> None:
    inn = Inn(node_networks=["10.9.0.0/16"])
    assert (await inn.fault(peer="127.0.0.1", host="127.0.0.1")).fault is McmpFault.MEM


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_every_address_is_taken_to_be_the_peers(
    inn: Inn, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    assert (await inn.node(host=host)).host == NODE_PEER
    assert f"announces {host}" in caplog.text


async def test_a_name_leads_to_the_first_allowed_address_and_stays_there(inn: Inn) -> None:
    node = await inn.node(host="kc1.example.test", scheme="https")
    assert node.host == "10.1.0.8"
    assert node.tls.server_name == "kc1.example.test"
    inn.known["kc1"] = "10.1.0.7"
    assert (await inn.node(host="kc1.example.test")).host == "10.1.0.7"
    inn.known["kc1"] = "192.0.2.7"
    assert (await inn.node(host="kc1.example.test")).host == "10.1.0.8"


async def test_localhost_is_this_machine_whatever_name_servers_say(inn: Inn) -> None:
    inn.names["localhost"] = ("10.1.0.8",)
    assert (await inn.node(peer="127.0.0.1", host="localhost")).host == "127.0.0.1"
    assert (await inn.fault(host="localhost")).fault is McmpFault.MEM
    inn.known["kc1"] = "::1"
    assert (await inn.node(peer="127.0.0.1", host="localhost")).host == "::1"


async def test_a_name_that_leads_elsewhere_or_nowhere_is_refused(inn: Inn) -> None:
    assert (await inn.fault(host="rebound.example.test")).fault is McmpFault.MEM
    refused = await inn.fault(host="nobody.example.test")
    assert refused.fault is McmpFault.MEM
    assert "cannot resolve the name nobody.example.test" in refused.message


async def test_networks_of_agents_are_networks_of_nodes() -> None:
    inn = Inn(agents={"allow": ["10.2.0.0/16"], "token_file": None})
    assert (await inn.node(host="10.2.0.1")).host == "10.2.0.1"


def test_what_is_said_of_a_balancer_is_taken_over_whole() -> None:
    told = AnnouncedBalancer("b", False, "C", "p", True, False, 3.0, 2)
    settings = balancer_settings(told)
    for name in AnnouncedBalancer.__slots__:
        assert getattr(settings, name) == getattr(told, name)
