"""What follows from the facts of a node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbproxy.cluster.node import LOCALHOST, Health, Node, NodeTls, needs_resolving, tls_of
from lbproxy.config.sources import NodeTlsSettings


def at(host: str, *addresses: str) -> Node:
    node = Node("idp", "a", "a", "http", host, 80, addresses=addresses)
    return replace(node, health=Health.UP)


@pytest.mark.parametrize(
    ("node", "targets"),
    [
        (at("10.0.0.1"), ("10.0.0.1",)),
        (at("fd00::1"), ("fd00::1",)),
        (at("localhost"), LOCALHOST),
        (at("idp.internal"), ()),
        (at("idp.internal", "10.0.0.1", "fd00::1"), ("10.0.0.1", "fd00::1")),
    ],
)
def test_where_connections_go(node: Node, targets: tuple[str, ...]) -> None:
    assert node.targets == targets
    assert node.usable == node.may_be_tried == bool(targets)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("node1", True),
        ("1.example", True),
        ("10.0.0.1.example", True),
        ("a.localhost", True),
        ("localhost", False),
        ("10.0.0.1", False),
        ("::1", False),
        ("node.1", False),
    ],
)
def test_what_needs_resolving(host: str, name: bool) -> None:
    assert needs_resolving(host) is name


@pytest.mark.parametrize(
    ("server_name", "name", "wanted"),
    [
        (None, None, None),
        (None, "announced.internal", "announced.internal"),
        ("idp.internal", "announced.internal", "idp.internal"),
    ],
)
def test_whose_name_a_certificate_must_hold(
    server_name: str | None, name: str | None, wanted: str | None
) -> None:
    settings = NodeTlsSettings.model_construct(ca="/a.pem", server_name=server_name, verify=False)
    assert tls_of(settings, name) == NodeTls("/a.pem", wanted, False)
