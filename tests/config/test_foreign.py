"""Words of other products lead to those of this one, or to why there are none, in their place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lbproxy.config import foreign
from lbproxy.config.messages import sections
from lbproxy.config.model import keys
from lbproxy.config.read import parse_config
from lbproxy.config.schema import Config
from tests.config.texts import GOOD, pool, said

KEYS = {place: keys(model) for place, model in sections(Config)}


def test_every_word_leads_to_a_key_and_is_none_itself() -> None:
    for section, word, advice in foreign.table():
        if advice.target is not None:
            place, _, key = advice.target.rpartition(".")
            assert key in KEYS[place], (word, advice.target)
        if section is not None:
            assert section in KEYS
            assert word not in KEYS[section], f"{word} is a key of {section}"
        assert re.match("lbproxy's word is |not supported; |not needed: ", advice.text)


def test_no_word_says_two_things() -> None:
    said: dict[tuple[str | None, str], str] = {}
    for section, word, advice in foreign.table():
        assert said.setdefault((section, re.sub("_", "", word)), advice.text) == advice.text, word


def section(place: str, word: str) -> str:
    """Return a good file in which a section holds the word as well."""
    file = yaml.safe_load(GOOD)
    parts: dict[str, dict[str, object]] = {
        "file": file,
        "listener": file["listeners"][0],
        "pool": file["pools"]["idp"],
        "node": file["pools"]["idp"]["nodes"][0],
        "route": file["routes"][0],
        "health": file["pools"]["idp"].setdefault("health", {}),
        "limits": file.setdefault("limits", {}),
    }
    parts[place][word] = "x"
    return str(yaml.safe_dump(file))


WORDS = [
    ("file", "upstreams", "lbproxy's word is pools"),
    ("file", "Backend", "lbproxy's word is pools"),
    ("file", "proxy_read_timeout", "lbproxy's word is timeouts.response"),
    ("file", "client_max_body_size", "lbproxy's word is limits.body"),
    ("file", "server", "lbproxy's word is listeners"),
    ("file", "frontends", "lbproxy's word is listeners"),
    ("file", "entryPoints", "lbproxy's word is listeners"),
    ("file", "rate_limit", "not supported; "),
    ("file", "gzip", "not supported; "),
    ("file", "http2", "not supported; HTTP/1.1"),
    ("file", "headers", "not supported; "),
    ("file", "rewrite", "not supported; "),
    ("file", "allow", "not supported; "),
    ("file", "timeout client", "lbproxy's word is timeouts.body_idle"),
    ("file", "sticky", " here; it belongs in pools.NAME"),
    ("file", "trusted_proxies", " here; it belongs in forwarding"),
    ("listener", "ciphers", "not supported; "),
    ("listener", "client_ca", "not supported; "),
    ("listener", "redirect_code", "not supported; redirects are 308"),
    ("listener", "ssl_certificate", "lbproxy's word is listeners[].tls.certificates"),
    ("listener", "server_name", "lbproxy's word is routes[].host"),
    ("listener", "listen", "lbproxy's word is bind"),
    ("listener", "backend", "lbproxy's word is routes[].pool"),
    ("pool", "server", "lbproxy's word is nodes"),
    ("pool", "servers", "lbproxy's word is nodes"),
    ("pool", "backend", "lbproxy's word is nodes"),
    ("pool", "roundrobin", "lbproxy's word is balance"),
    ("pool", "ip_hash", "lbproxy's word is balance"),
    ("pool", "proxy_read_timeout", "lbproxy's word is pools.NAME.timeouts.response"),
    ("pool", "rate_limit", "not supported; "),
    ("node", "server", "lbproxy's word is url"),
    ("node", "address", "lbproxy's word is url"),
    ("node", "max_fails", "lbproxy's word is pools.NAME.ejection.failures"),
    ("node", "backup", "not supported; "),
    ("route", "backend", "lbproxy's word is pool"),
    ("route", "location", "lbproxy's word is path"),
    ("route", "server_name", "lbproxy's word is host"),
    ("route", "rewrite", "not supported; "),
    ("route", "stripPrefix", "not supported; "),
    ("health", "uri", "lbproxy's word is path"),
    ("health", "inter", "lbproxy's word is interval"),
    ("limits", "rate_limit", "not supported; "),
    ("limits", "client_max_body_size", "lbproxy's word is body"),
    ("listener", "so_keepalive", "lbproxy's word is tcp"),
    ("listener", "backlog", "lbproxy's word is limits.backlog"),
    ("listener", "tcp-ut", "lbproxy's word is listeners[].tcp.user_timeout"),
    ("pool", "option srvtcpka", "lbproxy's word is tcp"),
    ("pool", "tcp-ut", "lbproxy's word is pools.NAME.tcp.user_timeout"),
    ("pool", "proxy_socket_keepalive", "lbproxy's word is tcp"),
    ("file", "worker_cpu_affinity", "lbproxy's word is pin_workers"),
]


@pytest.mark.parametrize(("place", "word", "advice"), WORDS)
def test_a_word_of_another_product(place: str, word: str, advice: str) -> None:
    [line] = said(section(place, word))
    assert f"{word}: unknown key{'' if advice[0] == ' ' else '; '}{advice}" in line
    assert "did you mean" not in line


@pytest.mark.parametrize(
    ("place", "word"),
    [("limits", "rate"), ("listener", "redirect_when"), ("file", "doodles"), ("route", "patience")],
)
def test_what_only_looks_alike_is_not_proposed(place: str, word: str) -> None:
    [line] = said(section(place, word))
    assert "did you mean" not in line


def test_what_another_word_says_is_not_missing() -> None:
    [line] = said(GOOD.replace("pools:", "upstreams:"))
    assert "upstreams: unknown key; lbproxy's word is pools" in line
    [line] = said(GOOD.replace('url: "http://10.0.0.2:9011"', "server: 10.0.0.2:9011"))
    assert "nodes[1].server: unknown key; lbproxy's word is url" in line


VALUES = [
    (pool("balance: roundrobin"), "or 'load'; lbproxy's word is round_robin"),
    (pool("balance: leastconn"), "lbproxy's word is least_requests"),
    (pool("balance: least_conn"), "lbproxy's word is least_requests"),
    (pool("balance: ip_hash"), "lbproxy's word is hash, which is of the session and not of the ad"),
    (pool("balance: source"), "lbproxy's word is hash"),
    (pool("health: {expect: 2xx}"), "did you mean 200-299?"),
    (pool("health: {probe: tcp}"), "lbproxy's word is ping"),
    (pool("health: /health"), "write {path: ...}"),
    (GOOD + "timeouts: {drain: 60}", "did you mean 60s, or 60ms?"),
    (GOOD + "timeouts: {drain: '60'}", "did you mean 60s, or 60ms?"),
    (GOOD + "timeouts: {drain: 30sec}", "did you mean 30s?"),
    (GOOD + "timeouts: {drain: 30 s}", "did you mean 30s?"),
    (GOOD + "timeouts: {drain: 1min}", "did you mean 1m?"),
    (GOOD + "timeouts: {drain: 2Hours}", "did you mean 2h?"),
    (GOOD + "limits: {body: 16m}", "or off; did you mean 16MiB?"),
    (GOOD + "limits: {head: 64k}", "did you mean 64KiB?"),
    (GOOD + "limits: {head: 64 KB}", "did you mean 64KiB?"),
    (GOOD + "limits: {body: unlimited}", "write off for no limit"),
    (GOOD + "access_log: /var/log/lbproxy.log", "write {path: ...}"),
    (GOOD.replace('"127.0.0.1:8080"', '"*:443"'), 'did you mean "0.0.0.0:443"?'),
    (GOOD.replace('"127.0.0.1:8080"', '":443"'), 'did you mean "0.0.0.0:443"?'),
    (GOOD.replace('"127.0.0.1:8080"', "443"), 'did you mean "0.0.0.0:443"?'),
    (GOOD.replace('"127.0.0.1:8080"', "443 ssl"), 'did you mean "0.0.0.0:443"?'),
    (GOOD.replace("http://10.0.0.2:9011", "10.0.0.2:9011"), 'mean "http://10.0.0.2:9011"?'),
]


@pytest.mark.parametrize(("text", "hint"), VALUES)
def test_a_value_of_another_product(text: str, hint: str) -> None:
    [line] = said(text)
    assert hint in line


def test_a_version_of_tls_by_another_name(folder: Path) -> None:
    tls = "tls: {min_version: TLSv1.2, certificates: [{cert: tls/idp.crt, key: tls/idp.key}]}"
    text = GOOD.replace('8080"', f'8080", {tls}')
    [problem] = parse_config(text, "x.yaml", folder).problems
    assert problem.message.endswith("; lbproxy's word is 1.2")
