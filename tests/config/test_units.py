"""Values as a file writes them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.config.units import (
    Bind,
    NodeUrl,
    format_duration,
    format_size,
    parse_bind,
    parse_codes,
    parse_duration,
    parse_host_pattern,
    parse_network,
    parse_node_url,
    parse_size,
    parse_size_or_off,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("1.5s", 1.5), ("1m", 60), ("1h", 3600), ("1d", 86400), (2.5, 2.5)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["5", "", "s", "-5s", "5 s", "5S", "1h30m", 5, True, None, [], float("nan"), float("inf")],
)
def test_durations_need_a_unit(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**12))
def test_durations_come_back_from_their_text(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("64KiB", 65536), ("16MiB", 16 << 20), ("1GiB", 1 << 30), (0, 0), (512, 512)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["64", "64kb", "64K", "-1B", -1, 1.5, True, None, ""])
def test_sizes_are_bytes_or_have_a_unit(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_a_size_may_be_off() -> None:
    assert parse_size_or_off(False) is False
    assert parse_size_or_off("1KiB") == 1024
    with pytest.raises(ValueError, match="or off"):
        parse_size_or_off(True)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=1 << 50))
def test_sizes_come_back_from_their_text(size: int) -> None:
    assert parse_size(format_size(size)) == size


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


@pytest.mark.parametrize("text", ["10.0.0.1/8", "x", 3, None, "10.0.0.0/33"])
def test_what_is_no_network(text: object) -> None:
    with pytest.raises(ValueError, match="not a network"):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("200", {200}),
        ("200,204", {200, 204}),
        (" 200 , 301-303 ", {200, 301, 302, 303}),
        ("", set()),
        ("200-200", {200}),
    ],
)
def test_codes(text: str, codes: set[int]) -> None:
    assert parse_codes(text) == codes


@pytest.mark.parametrize("text", ["2xx", "20", "600", "099", "204-200", "200-", "-200", "200;204"])
def test_what_are_no_codes(text: str) -> None:
    with pytest.raises(ValueError, match="status code"):
        parse_codes(text)


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
