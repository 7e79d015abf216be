"""Names lead to nodes, and to nothing on this machine, this link or of the cloud."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from lbproxy.control.discovery.address_rules import AddressRules

METADATA = "a cloud's metadata service"


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("127.0.0.1", "loopback"),
        ("127.0.1.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b:1::7f00:1", "loopback"),
        ("64:ff9b:1:2::a9fe:a9fe", METADATA),
        ("::ffff:0:127.0.0.1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("::ffff:169.254.1.1", "link-local"),
        ("169.254.169.254", METADATA),
        ("::ffff:169.254.169.254", METADATA),
        ("64:ff9b::a9fe:a9fe", METADATA),
        ("169.254.170.2", METADATA),
        ("169.254.170.23", METADATA),
        ("fd00:ec2::254", METADATA),
        ("fd00:ec2::23", METADATA),
        ("fd20:ce::254", METADATA),
        ("100.100.100.200", METADATA),
        ("168.63.129.16", METADATA),
        ("192.0.0.192", METADATA),
        ("224.0.0.1", "multicast"),
        ("239.1.1.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "no address of a host"),
        ("0.1.2.3", "no address of a host"),
        ("::", "no address of a host"),
        ("::7f00:1", "no address of a host"),
        ("255.255.255.255", "no address of a host"),
        ("240.0.0.1", "no address of a host"),
    ],
)
def test_refused(address: str, word: str) -> None:
    assert AddressRules(()).refusal(address) == word


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "100.100.100.201",
        "169.253.255.255",
        "126.255.255.255",
        "128.0.0.1",
        "8.8.8.8",
        "fd00::1",
        "2001:db8::1",
        "2002:a00:1::",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "::ffff:10.0.0.1",
    ],
)
def test_fine(address: str) -> None:
    assert AddressRules(()).refusal(address) is None


def test_what_is_listed_is_allowed_and_nothing_beside_it() -> None:
    rules = AddressRules([ip_network("127.0.1.0/24"), ip_network("fe80::1/128")])
    assert rules.refusal("127.0.1.1") is None
    assert rules.refusal("::ffff:127.0.1.1") is None
    assert rules.refusal("fe80::1") is None
    assert rules.refusal("127.0.0.1") == "loopback"
    assert rules.refusal("fe80::2") == "link-local"


def test_an_answer_is_split() -> None:
    fine, refused = AddressRules(()).split(("10.0.0.2", "127.0.0.1", "10.0.0.1", "::"))
    assert fine == ("10.0.0.2", "10.0.0.1")
    assert refused == {"127.0.0.1": "loopback", "::": "no address of a host"}
