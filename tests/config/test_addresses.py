"""Addresses, networks, urls and hosts as a file writes them."""

from __future__ import annotations

import pytest

from lbproxy.config.addresses import (
    Bind,
    NodeUrl,
    parse_bind,
    parse_host_pattern,
    parse_network,
    parse_node_url,
)


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("0.0.0.0:8443", Bind("0.0.0.0", 8443)),
        ("[::]:8443", Bind("::", 8443)),
        ("localhost:0", Bind("localhost", 0)),
        ("[fe80::1%eth0]:80", Bind("fe80::1%eth0", 80)),
        ("unix:/run/x", Bind(path="/run/x")),
    ],
)
def test_addresses_come_back_from_their_text(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind
    assert str(bind) == text


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("LocalHost:1", "localhost:1"),
        ("[0:0::0]:1", "[::]:1"),
        ("[0::1]:1", "[::1]:1"),
        ("[FD00::A]:1", "[fd00::a]:1"),
        ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
    ],
)
def test_an_address_has_one_spelling(text: str, usual: str) -> None:
    """What is open to every machine, or to this one alone, must not depend on it."""
    assert parse_bind(text) == parse_bind(usual)
    assert str(parse_bind(text)) == usual


@pytest.mark.parametrize(
    "text",
    [
        *("8443", ":8443", "::1:8443", "a:b", "a:65536", "unix:x", 8443, "a:"),
        # What nginx and HAProxy know, slips of the pen, and what no resolver can be asked for.
        *("*:8443", "10.0.0.300:80", "0.0.0.0.0:80", "[a]:80", "a..b:80", "é..:80", "[::g]:80"),
    ],
)
def test_what_is_no_address(text: object) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_bind(text)


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("idp.internal:1", False),
        ("0.0.0.0:1", False),
        ("10.0.0.1:1", False),
        ("[::]:1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(bind: str, loopback: bool) -> None:
    assert parse_bind(bind).is_local is loopback


@pytest.mark.parametrize("text", ["10.0.0.1/8", "x", 3, None, "10.0.0.0/33"])
def test_what_is_no_network(text: object) -> None:
    with pytest.raises(ValueError, match="not a network"):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://10.0.0.1:9011", NodeUrl("http", "10.0.0.1", 9011)),
        ("http://idp", NodeUrl("http", "idp", 80)),
        ("https://idp.internal/", NodeUrl("https", "idp.internal", 443)),
        ("https://[fd00::1]:8443", NodeUrl("https", "fd00::1", 8443)),
        ("http://[FD00:0:0:0::0001]:80", NodeUrl("http", "fd00::1", 80)),
        ("http://[::ffff:10.0.0.1]:80", NodeUrl("http", "10.0.0.1", 80)),
        (
            "http://keycloak-0.keycloak_headless.idp.svc:8080",
            NodeUrl("http", "keycloak-0.keycloak_headless.idp.svc", 8080),
        ),
    ],
)
def test_node_urls(text: str, url: NodeUrl) -> None:
    assert parse_node_url(text) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.1:9011", "must begin with"),
        ("ftp://a", "must begin with"),
        ("HTTP://a", "must begin with"),
        ("http:/a", "must begin with"),
        ("http://u:p@a", "user or a password"),
        ("http://a/x", "end after host and port"),
        ("http://a?x", "end after host and port"),
        ("http://a#x", "end after host and port"),
        ("http://a/?", "end after host and port"),
        ("http://", "valid host"),
        ("http://a:", "valid host"),
        ("http://a:0", "valid host"),
        ("http://a:65536", "not an address"),
        ("http://a:x", "not an address"),
        ("http://a b", "valid host"),
        ("http://[::g]", "not an address"),
        ("http://10.0.0.300:9011", "valid host"),
        ("http://-a", "valid host"),
        ("http://a..b", "valid host"),
    ],
)
def test_what_is_no_node_url(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_node_url(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("idp.example.com", "idp.example.com"),
        ("IDP.Example.com.", "idp.example.com"),
        ("*.Example.com", "*.example.com"),
        ("localhost", "localhost"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]", "[::1]"),
    ],
)
def test_hosts(text: str, host: str) -> None:
    assert parse_host_pattern(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "a.*.b",
        "a*",
        "a:80",
        "[::1]:80",
        "::1",
        "[a]",
        "a/b",
        "a b",
        "é.fr",
        "http://a",
    ],
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a host|ASCII"):
        parse_host_pattern(text)
