"""The public origin from forwarded fields, and where a login may go back to."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from lbproxy.demo.origin import is_allowed_redirect, public_origin


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"Host": "node:9011"}, "http://node:9011"),
        ({"Host": "node:80"}, "http://node"),
        ({"Host": "a", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}, "https://a"),
        (
            {
                "Host": "a:8443",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "idp.example.com:8443",
                "X-Forwarded-Port": "8443",
            },
            "https://idp.example.com:8443",
        ),
        (
            {"Host": "a", "X-Forwarded-Host": "[::1]:1", "X-Forwarded-Port": "8080"},
            "http://[::1]:8080",
        ),
    ],
)
def test_public_origin(headers: dict[str, str], origin: str) -> None:
    assert public_origin(make_mocked_request("GET", "/", headers=headers)) == origin


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "a", "X-Forwarded-Port": "443,443"},
        {"Host": "a", "X-Forwarded-Proto": "https,http"},
        {"Host": "a", "X-Forwarded-Host": "a/b"},
        {"Host": "a", "X-Forwarded-Host": "[::1"},
        {"Host": "a", "X-Forwarded-Host": "x@a"},
    ],
)
def test_what_is_no_origin_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(web.HTTPBadRequest):
        public_origin(make_mocked_request("GET", "/", headers=headers))


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://idp.example.com/callback", True),
        ("http://127.0.0.1:5000/cb", True),
        ("http://[::1]:5000/cb", True),
        ("http://localhost/cb", True),
        ("https://idp.example.com/callback/", False),
        ("https://evil.example/callback", False),
        ("http://localhost.evil.example/cb", False),
        ("http://localhost@evil.example/cb", False),
        ("http://user@localhost/cb", False),
        ("javascript://localhost/%0aalert(1)", False),
        ("http://localhost/cb#x", False),
        ("http://[::1/cb", False),
        ("", False),
    ],
)
def test_redirects(uri: str, allowed: bool) -> None:
    assert is_allowed_redirect(uri, "https://idp.example.com") is allowed
