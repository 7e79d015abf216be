"""Whom forwarded fields are believed from, what of them, and what is removed."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.config.schema import ForwardedFields, ForwardingSettings
from lbproxy.proxy.forwarding.rules import (
    ForwardingRules,
    agree,
    canonical_address,
    drop_rules,
    port_of,
)

TRUSTED = tuple(ip_network(text) for text in ("10.0.0.0/8", "fd00::/8", "fe80::/10"))


def rules(fields: str = "x-forwarded") -> ForwardingRules:
    settings_ = ForwardingSettings(trusted_proxies=TRUSTED, fields=ForwardedFields(fields))
    return ForwardingRules(settings_, "gate")


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For", "x-forwarded-proto", "X-FORWARDED-HOST", "X-Forwarded-Port",
        "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Access-Token", "X_Forwarded_For",
        "X-Forwarded_For", "X.Forwarded.For", "x-forwarded-anything", "Forwarded", "X-Real-IP",
        "X_Real_IP", "X-Original-URL", "X-Original-Forwarded-For", "X-Original-Method",
        "X-Client-IP", "True-Client-IP", "True_Client_IP", "CF-Connecting-IP", "X-Rewrite-URL",
        "Client-Cert", "Client-Cert-Chain", "client_cert", "ssl-client-cert", "SSL_CLIENT_CERT",
        "SSL_CLIENT_VERIFY", "ssl-client-verify", "SSL_CIPHER", "SSL_SESSION_ID", "CERT_CHAIN_0",
        "cert-chain-1", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info",
        "x-forwarded-client-cert", "x-wso2-mtls-cert", "x_wso2_mtls_cert", "X-SSL-Client-Cert",
        "X-ARR-ClientCert", "X-Amzn-Mtls-Clientcert", "X-FusionAuth-TenantId",
        "x_fusionauth.tenantid", "HTTP_X_FORWARDED_FOR", "HTTP_CLIENT_IP", "http-forwarded",
        "Forwarded-For", "X_Request_Id", "X-Request.Id",
        "X-Forwarded", "X-Real-Port", "Client-IP", "X-Cluster-Client-IP",
        "CF-Connecting-IPv6", "CF-Visitor", "Fastly-Client-IP", "X-Remote-IP", "X-Remote-Addr",
        "Proxy-Client-IP", "WL-Proxy-Client-IP", "WL-Proxy-SSL", "X-ProxyUser-Ip",
        "X-Envoy-External-Address", "X-Azure-ClientIP", "X-Azure-SocketIP", "Front-End-Https",
        "X-Scheme", "X-Url-Scheme", "X-Host", "X-ARR-SSL", "X-Client-Verify", "X-Client-DN",
    ],
)  # fmt: skip
def test_no_client_may_set(name: str) -> None:
    assert drop_rules(["X-FusionAuth-TenantId"]).matches(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        "Host", "Accept", "Cookie", "Authorization", "Content-Type", "X-Requested-With",
        "HTTP2-Settings", "X-Client-SKU", "X-CSRF-Token", "traceparent", "Origin", "Referer",
        "X-FusionAuth-TenantId", "Sec-Fetch-Site", "From",
    ],
)  # fmt: skip
def test_other_fields_pass(name: str) -> None:
    assert not drop_rules([]).matches(name.encode())


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.0.2.01", ""),
        ("192.0.2.1%eth0", ""),
        ("host", ""),
        ("", ""),
        ("1", ""),
    ],
)
def test_canonical_addresses(text: str, canonical: str) -> None:
    assert canonical_address(text) == canonical


def test_trust_is_by_network_in_every_spelling() -> None:
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::5", "fe80::1%eth0"):
        assert rules().trusted(address), address
    for address in ("11.0.0.1", "::ffff:11.0.0.1", "2001:db8::1", "", "unix", "10.0.0.1x"):
        assert not rules().trusted(address), address
    assert not ForwardingRules(ForwardingSettings(), "gate").trusted("127.0.0.1")


def test_the_memory_of_trust_is_bounded() -> None:
    """Clients choose what stands in X-Forwarded-For, so they must not fill our memory."""
    some = rules()
    for number in range(10_000):
        some.trusted(f"198.51.{number >> 8}.{number & 255}")
    assert len(some._remembered) <= 4096
    assert some.trusted("10.0.0.1")


@pytest.mark.parametrize(
    ("field", "chain"),
    [
        (b"198.51.100.9", ["198.51.100.9", "10.0.0.1"]),
        (b"1.1.1.1, 198.51.100.9", ["198.51.100.9", "10.0.0.1"]),
        (b"198.51.100.9,10.0.0.2", ["198.51.100.9", "10.0.0.2", "10.0.0.1"]),
        (b"198.51.100.9:4711", ["198.51.100.9", "10.0.0.1"]),
        (b"2001:db8::9", ["2001:db8::9", "10.0.0.1"]),
        (b"[2001:db8::9]", ["2001:db8::9", "10.0.0.1"]),
        (b"[2001:db8::9]:4711", ["2001:db8::9", "10.0.0.1"]),
        (b"::ffff:198.51.100.9", ["198.51.100.9", "10.0.0.1"]),
        # all trusted: the leftmost
        (b"10.0.0.3, 10.0.0.2", ["10.0.0.3", "10.0.0.2", "10.0.0.1"]),
        # malformed: the last good one
        (b"1.1.1.1, bad, 10.0.0.2", ["10.0.0.2", "10.0.0.1"]),
        # empty members do not count
        (b"198.51.100.9,", ["198.51.100.9", "10.0.0.1"]),
        (b", 198.51.100.9 ,,\t, 10.0.0.2, ", ["198.51.100.9", "10.0.0.2", "10.0.0.1"]),
        (b" , ,", ["10.0.0.1"]),
        (b"unknown", ["10.0.0.1"]),
        (b"198.51.100.9\xff", ["10.0.0.1"]),
        (b"198.51.100.9:port", ["10.0.0.1"]),
        (b"", ["10.0.0.1"]),
    ],
)
def test_the_client_in_x_forwarded_for(field: bytes, chain: list[str]) -> None:
    assert rules().believed("10.0.0.1", [(b"X-Forwarded-For", field)]).chain == chain


def test_repeated_fields_are_one_list() -> None:
    received = [(b"X-Forwarded-For", b"198.51.100.9"), (b"x-forwarded-for", b"10.0.0.2")]
    assert rules().believed("10.0.0.1", received).chain == ["198.51.100.9", "10.0.0.2", "10.0.0.1"]


def test_look_alikes_are_not_believed() -> None:
    said = rules().believed(
        "10.0.0.1",
        [
            (b"X_Forwarded_For", b"198.51.100.9"),
            (b"X.Forwarded.Proto", b"https"),
            (b"X-Forwarded-Port", b" 8443"),
        ],
    )
    assert (said.chain, said.proto, said.port) == (["10.0.0.1"], b"", b"8443")


CLIENT, INNER = "198.51.100.9", "10.0.0.2"


@pytest.mark.parametrize(
    ("addresses", "values", "counts"),
    [
        # No address is said, so no client bounds what the trusted peer says: the leftmost.
        ([], ["https, http"], "https"),
        ([], ["https", "http"], "https"),
        ([], ["https, https"], "https"),
        ([], [",https,, "], "https"),
        ([], [" , "], ""),
        # One trusted proxy wrote one member; the client's own stands left of it.
        ([CLIENT], ["https, http"], "http"),
        ([CLIENT], ["http", "https"], "https"),
        ([CLIENT], ["https"], "https"),
        ([f"6.6.6.6, {CLIENT}"], ["ftp, http, https"], "https"),
        # Two trusted proxies: what the outer one saw.
        ([f"{CLIENT}, {INNER}"], ["https, http"], "https"),
        ([CLIENT, INNER], ["https", "http"], "https"),
        ([f"{CLIENT},,{INNER},"], ["https,,http,"], "https"),
        ([f"{CLIENT}, {INNER}"], ["http, https, http"], "https"),
        ([f"6.6.6.6, {CLIENT}, {INNER}"], ["gopher, https, http"], "https"),
        # Fewer members than proxies: the leftmost.
        ([f"{CLIENT}, {INNER}"], ["https"], "https"),
        ([f"{CLIENT}, 10.0.0.3, {INNER}"], ["https, http"], "https"),
        # All addresses are trusted: the leftmost one's own claim is believed as well.
        ([f"10.0.0.3, {INNER}"], ["https, http, http"], "https"),
        # A client whose address nobody can read still ends the walk.
        (["unknown"], ["https, http"], "http"),
        ([f"6.6.6.6, unknown, {INNER}"], ["ftp, https, http"], "https"),
    ],
)
@pytest.mark.parametrize("field", ["proto", "host", "port"])
def test_lists_are_counted_as_the_addresses_are(
    field: str, addresses: list[str], values: list[str], counts: str
) -> None:
    name = f"X-Forwarded-{field}".encode()
    received = [(b"X-Forwarded-For", each.encode()) for each in addresses]
    received += [(name, each.encode()) for each in values]
    assert getattr(rules().believed("10.0.0.1", received), field) == counts.encode()


@pytest.mark.parametrize(
    ("value", "proto", "host"),
    [
        (b"proto=https, proto=http", b"https", b""),
        (b"for=198.51.100.9;proto=https, for=10.0.0.2;proto=http;host=b", b"https", b"b"),
        (b"for=198.51.100.9, for=10.0.0.2;proto=https", b"https", b""),
        (b"for=6.6.6.6;proto=https;host=evil, for=198.51.100.9;proto=http", b"http", b""),
        (b"for=6.6.6.6;host=evil, for=unknown;proto=https, for=10.0.0.2;host=b", b"https", b"b"),
        (b",for=198.51.100.9;proto=https,, ,", b"https", b""),
    ],
)
def test_elements_are_counted_as_the_addresses_are(value: bytes, proto: bytes, host: bytes) -> None:
    said = rules("forwarded").believed("10.0.0.1", [(b"Forwarded", value)])
    assert (said.proto, said.host) == (proto, host)


def test_long_lists_cost_little() -> None:
    """Only the near end of a list is taken apart, however long the rest."""
    said = rules().believed(
        "10.0.0.1",
        [
            (b"X-Forwarded-For", b"," * 60_000 + b"198.51.100.9"),
            (b"X-Forwarded-Proto", b"http," * 10_000 + b"https"),
        ],
    )
    assert (said.chain[0], said.proto) == ("198.51.100.9", b"https")
    assert rules("forwarded").believed("10.0.0.1", [(b"Forwarded", b"," * 60_000)]).chain == [
        "10.0.0.1"
    ]


def test_a_long_invented_chain_costs_little() -> None:
    said = rules().believed("10.0.0.1", [(b"X-Forwarded-For", b"10.0.0.2," * 7000 + b"10.0.0.2")])
    assert len(said.chain) == 33


def test_of_a_long_chain_the_near_end_is_walked() -> None:
    """What stands at the far end, anybody may have written."""
    near = [b"198.51.100.9", *[b"10.0.0.2"] * 31]
    for far in (8, 100):
        entries = b", ".join([b"203.0.113.5"] * far + near)
        said = rules().believed("10.0.0.1", [(b"X-Forwarded-For", entries)])
        assert said.chain[0] == "198.51.100.9"
        assert len(said.chain) == 33


FIRST = b"198.51.100.9"
OTHER = b"203.0.113.5"


@pytest.mark.parametrize(
    ("fields", "x_for", "standard", "client"),
    [
        ("x-forwarded", FIRST, b"for=" + OTHER, "198.51.100.9"),
        ("x-forwarded", None, b"for=" + OTHER, "10.0.0.1"),
        ("forwarded", FIRST, b"for=" + OTHER, "203.0.113.5"),
        ("forwarded", FIRST, None, "10.0.0.1"),
        ("forwarded", FIRST, b'for="', "10.0.0.1"),
        ("both", FIRST, None, "198.51.100.9"),
        ("both", None, b"for=" + OTHER, "203.0.113.5"),
        ("both", FIRST, b"for=" + FIRST, "198.51.100.9"),
        # One of the two comes from the client: nobody knows which.
        ("both", FIRST, b"for=" + OTHER, "10.0.0.1"),
        ("both", FIRST, b"for=unknown", "10.0.0.1"),
    ],
)
def test_which_dialect_is_believed(
    fields: str, x_for: bytes | None, standard: bytes | None, client: str
) -> None:
    received = []
    if x_for is not None:
        received.append((b"X-Forwarded-For", x_for))
    if standard is not None:
        received.append((b"Forwarded", standard))
    assert rules(fields).believed("10.0.0.1", received).chain[0] == client


def test_what_the_outermost_trusted_proxy_saw_is_believed() -> None:
    said = rules("forwarded").believed(
        "10.0.0.1",
        [
            (
                b"Forwarded",
                b"for=1.1.1.1;host=evil.example;proto=http, "
                b"for=198.51.100.9;host=idp.example;proto=https, "
                b"for=10.0.0.2;host=inner;proto=http",
            )
        ],
    )
    assert said.chain == ["198.51.100.9", "10.0.0.2", "10.0.0.1"]
    assert (said.host, said.proto) == (b"idp.example", b"https")


def test_an_unnamed_client_still_has_a_scheme() -> None:
    said = rules("forwarded").believed("10.0.0.1", [(b"Forwarded", b"for=_a1b2;proto=https")])
    assert (said.chain, said.proto) == (["10.0.0.1"], b"https")


@pytest.mark.parametrize(
    ("host", "scheme", "port"),
    [
        (b"idp.example", b"https", b"443"),
        (b"idp.example", b"http", b"80"),
        (b"idp.example:8443", b"https", b"8443"),
        (b"[::1]", b"https", b"443"),
        (b"[::1]:8443", b"https", b"8443"),
        (b"", b"http", b"80"),
    ],
)
def test_the_port_of_a_host(host: bytes, scheme: bytes, port: bytes) -> None:
    assert port_of(host, scheme) == port


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        (b"idp.example", b"", (b"idp.example", b"443")),
        (b"idp.example", b"443", (b"idp.example", b"443")),
        (b"idp.example", b"8443", (b"idp.example:8443", b"8443")),
        (b"idp.example:9443", b"8443", (b"idp.example:9443", b"9443")),
        (b"[::1]", b"8443", (b"[::1]:8443", b"8443")),
        (b"idp.example", b"443,443", (b"idp.example", b"443")),
        (b"idp.example", b"0", (b"idp.example", b"443")),
        (b"idp.example", b"65535", (b"idp.example:65535", b"65535")),
        (b"idp.example", b"65536", (b"idp.example", b"443")),
        (b"idp.example", b"x", (b"idp.example", b"443")),
    ],
)
def test_host_and_port_always_agree(
    host: bytes, port: bytes, expected: tuple[bytes, bytes]
) -> None:
    assert agree(host, port, b"https") == expected


@settings(max_examples=200)
@given(st.lists(st.sampled_from([b"10.0.0.9", b"1.1.1.1", b"bad", b"", b"[fd00::1]", b"::1"])))
def test_nobody_left_of_an_untrusted_address_is_ever_believed(entries: list[bytes]) -> None:
    some = rules()
    chain = some.client_of(entries, "10.0.0.1")
    assert chain[-1] == "10.0.0.1"
    assert all(some.trusted(address) for address in chain[1:])
