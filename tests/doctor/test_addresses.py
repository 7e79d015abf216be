"""URLs that a provider makes."""

from __future__ import annotations

import pytest

from lbproxy.doctor.addresses import absolute, is_internal, mismatch, path_of, without_query
from lbproxy.doctor.door import Origin

PUBLIC = Origin("https", "idp.example.com", 443)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://idp.example.com/x", None),
        ("https://www.example.org/", None),
        ("mailto:a@b", None),
        ("http://idp.example.com/x", "is http, not https"),
        ("https://idp.example.com:8080/x", "has port 8080, not 443"),
        ("https://idp.example.com:443/x", "spells out the default port :443"),
        ("https://10.0.0.5/x", "names an internal host"),
        ("https://node1/x", "names an internal host"),
        ("http://keycloak.idp.svc/x", "names an internal host"),
        ("https://[::1", "is no valid URL"),
    ],
)
def test_mismatch(url: str, wrong: str | None) -> None:
    assert mismatch(url, PUBLIC) == wrong


def test_internal_hosts() -> None:
    assert is_internal("192.168.0.1")
    assert is_internal("fd00::1")
    assert not is_internal("8.8.8.8")
    assert not is_internal("idp.example.com")


def test_evidence_holds_no_secret() -> None:
    url = "https://user:pw@idp.example.com/cb?code=secret#x"
    assert without_query(url) == "https://idp.example.com/cb"


def test_what_is_no_url_is_no_end_either() -> None:
    assert absolute("https://a/x", "http://[") == "http://["
    assert absolute("https://a/x", "y") == "https://a/y"
    assert without_query("http://user:pw@[x/cb?code=secret#f") == "http://[x/cb"
    assert (path_of("http://["), path_of("http://a/b?c")) == ("", "/b")
