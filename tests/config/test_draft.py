"""Every fault of a file is found whatever other faults it has, and none that it has not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbproxy.config.read import parse_config

File = dict[str, Any]

GOOD = """\
listeners:
  - name: https
    bind: "127.0.0.1:8443"
    tls:
      certificates: [{cert: tls/idp.crt, key: tls/idp.key}]
  - name: http
    bind: "127.0.0.1:8080"
    redirect_to: https
forwarding: {trusted_proxies: [10.0.0.0/8], fields: both}
pools:
  idp:
    profile: keycloak
    health: {interval: 5s, timeout: 2s, expect: "200", soft: "503"}
    nodes:
      - {name: kc1, url: "http://10.0.0.1:8080"}
      - {name: kc2, url: "http://10.0.0.2:8080"}
      - {name: kc3, url: "https://10.0.0.3:8443", tls: {ca: tls/inner-ca.crt}}
  sso:
    profile: fusionauth
    nodes:
      - {name: n1, url: "http://10.0.0.4:9011"}
      - {name: n2, url: "ajp://127.0.0.1:8009", secret_file: ajp.secret, weight: 2}
  grown:
    discover: {dns: nodes.example, port: 8080}
routes:
  - {host: idp.example.com, path: /a, pool: sso}
  - {host: idp.example.com, path: /b, pool: grown}
  - {host: idp.example.com, pool: idp}
mcmp: {bind: "127.0.0.1:6666", pool: grown, agents: {allow: [127.0.0.0/8], token_file: token}}
admin: {bind: "127.0.0.1:9090", token_file: token}
resolver: {min_ttl: 5s, max_ttl: 5m}
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args: name: of the place that it is brought in at; make: brings it in; said: path and a part of
    the message of what must be said of it.
    """

    name: str
    make: Callable[[File], object]
    said: tuple[str, str]

    def __str__(self) -> str:
        return self.name


def put(path: str, value: object, at: str | None = None, message: str = "") -> Fault:
    """Return the fault that a value is another one. Args: at: where it is said, if elsewhere."""
    keys = [int(part) if part.isdigit() else part for part in path.split(".")]

    def make(file: File) -> None:
        place: Any = file
        for key in keys[:-1]:
            place = place[key] if isinstance(key, int) else place.setdefault(key, {})
        place[keys[-1]] = value

    written = ""
    for key in keys:
        written += f"[{key}]" if isinstance(key, int) else f".{key}" if written else key
    return Fault(f"{path}={value!r}", make, (at or written, message))


def drop(section: str, key: str, at: str) -> Fault:
    """Return the fault that a key is missing."""

    def make(file: File) -> None:
        place: Any = file
        for part in section.split("."):
            place = place[int(part) if part.isdigit() else part]
        place.pop(key, None)

    return Fault(f"{section} without {key}", make, (at, "is missing"))


SIMPLE = [
    put("workers", 0),
    put("forwarding.fields", "all"),
    put("forwarding.trusted_proxies.0", "10.0.0.1/8", message="not a network"),
    put("timeouts.drain", 5, message="not a duration"),
    put("limits.head", "many", message="not a size"),
    put("limts", {}, message="unknown key"),
    put("listeners.1.prot", 1, message="unknown key"),
    put("listeners.0.tls.min_version", "1.1"),
    put("pools.idp.profile", "keycloack", message="no such profile"),
    put("pools.idp.balance", "fair"),
    put("pools.idp.nodes.1.weight", 0),
    put("pools.idp.nodes.0.wait", 1, message="unknown key"),
    put("pools.idp.sticky.by", ["route", "wish"], "pools.idp.sticky.by[1]"),
    put("pools.idp.health.fall", 0),
    put("pools.sso.nodes.1.packet_size", "1KiB"),
    put("pools.sso.hide", ["admin"], "pools.sso.hide[0]"),
    put("routes.0.path", "a"),
    put("admin.colour", "red", message="unknown key"),
    put("mcmp.forget", "0s"),
    drop("pools.sso.nodes.0", "url", "pools.sso.nodes[0].url"),
    drop("listeners.1", "bind", "listeners[1].bind"),
    drop("routes.1", "pool", "routes[1].pool"),
]
# What can be seen only by looking at several places.
ACROSS = [
    put("listeners.1.name", "https", message="taken by listeners[0].name"),
    put("listeners.1.bind", "127.0.0.1:8443", message="taken by listeners[0].bind"),
    put("admin.bind", "127.0.0.1:8443", message="taken by listeners[0].bind"),
    put("mcmp.bind", "127.0.0.1:9090", message="taken by admin.bind"),
    put("listeners.0.tls.certificates.0.key", "tls/other.key", message="is not the key of"),
    put("listeners.1.redirect_to", "nowhere", message="there is no listener 'nowhere'"),
    put("pools.idp.nodes.1.name", "kc1", message="taken by pools.idp.nodes[0].name"),
    put("pools.idp.nodes.2.route", "kc1", message="taken by pools.idp.nodes[0].route"),
    put("pools.sso.nodes.1.name", "n1", message="taken by pools.sso.nodes[0].name"),
    put("pools.sso.nodes.0.secret_file", "ajp.secret", message="has an effect on ajp nodes only"),
    put("pools.idp.nodes.0.tls", {"ca": "tls/inner-ca.crt"}, message="has no effect on an http"),
    put("pools.idp.nodes.2.tls", {"verify": False}, "pools.idp.nodes[2].tls.verify", "whoever"),
    put("pools.idp.health.soft", "200", message="200 is in expect as well"),
    put("pools.idp.health.timeout", "7s", message="is not shorter than the interval"),
    put("pools.sso.keepalive.idle", "30s", message="is not shorter than the nodes' own limit"),
    put("pools.grown.discover.srv", "x.example", "pools.grown.discover", "needs exactly one"),
    put("routes.2.pool", "ipd", message="there is no pool 'ipd'; did you mean idp?"),
    put("routes.2.path", "/a/b", "routes[2]", "never matches"),
    put("mcmp.pool", "elsewhere", message="there is no pool 'elsewhere'"),
    put("admin.token_file", "short", message="less than 16 characters"),
    put("resolver.min_ttl", "1h", message="is longer than max_ttl"),
]


def said(file: File, folder: Path) -> set[tuple[str, str]]:
    result = parse_config(yaml.safe_dump(file, sort_keys=False), "x.yaml", folder)
    return {(problem.path, problem.message) for problem in result.problems}


def place(fault: Fault) -> str:
    return fault.name.partition("=")[0]


def test_the_good_file_is_good(folder: Path) -> None:
    assert said(yaml.safe_load(GOOD), folder) == set()


@pytest.mark.parametrize("first", SIMPLE + ACROSS, ids=str)
def test_every_fault_is_found_beside_every_other_one(first: Fault, folder: Path) -> None:
    good = yaml.safe_load(GOOD)
    for second in [None, *SIMPLE, *ACROSS]:
        pair = [first] if second is None else [first, second]
        if second is not None and independent(first, second) is False:
            continue
        file = copy.deepcopy(good)
        for fault in sorted(pair, key=lambda each: "without" in each.name):
            fault.make(file)
        found = said(file, folder)
        for fault in pair:
            path, message = fault.said
            assert any(at == path and message in text for at, text in found), (
                f"{fault} beside {second}: {found}"
            )
        # Nothing that the two do not account for.
        assert len(found) == len(pair), f"{first} beside {second}: {found}"


# Pairs of which one takes away what makes the other a fault, or makes it another one.
RELATED = [
    {"listeners.1.bind", "listeners.1 without bind"},
    {"listeners.1.bind", "admin.bind"},
    {"admin.bind", "mcmp.bind"},
    {"listeners.1.name", "listeners.1.redirect_to"},
    {"pools.idp.nodes.1.name", "pools.idp.nodes.2.route"},
    {"pools.sso.nodes.1.name", "pools.sso.nodes.0 without url"},
    {"pools.sso.nodes.0.secret_file", "pools.sso.nodes.0 without url"},
    {"routes.2.path", "routes.0.path"},
    {"routes.2.pool", "routes.2.path"},
    {"pools.idp.health.soft", "pools.idp.health.fall"},
]


def independent(one: Fault, other: Fault) -> bool:
    names = {place(one), place(other)}
    return len(names) == 2 and names not in RELATED


def test_many_faults_at_once_are_all_found(folder: Path) -> None:
    """As many as fit: each fault of the list that goes with all those before it."""
    file = yaml.safe_load(GOOD)
    taken: list[Fault] = []
    for fault in [*ACROSS, *SIMPLE]:
        if all(independent(fault, other) for other in taken):
            fault.make(file)
            taken.append(fault)
    found = said(file, folder)
    for fault in taken:
        path, message = fault.said
        assert any(at == path and message in text for at, text in found), fault
    assert len(found) == len(taken)


def test_what_rests_on_a_bad_value_is_not_said(folder: Path) -> None:
    bad: list[tuple[str, object]] = [
        ("listeners.0.tls", 3),
        ("listeners.0.name", "a b"),
        ("listeners.1", 3),
        ("pools.idp.nodes.0", "x"),
        ("pools.idp.nodes.0.url", "x"),
        ("pools.idp.nodes.2.url", "10.0.0.3"),
        ("pools.idp.nodes.0.name", "a b"),
        ("pools.idp.nodes", 3),
        ("pools.idp.sticky.cookie", "a b"),
        ("pools.idp.sticky.by", 3),
        ("pools.idp.profile", 3),
        ("pools.idp.profile", "tomcat"),
        ("pools.sso", 3),
        ("pools.grown.discover", 3),
        ("pools.grown.discover.scheme", "h2"),
        ("routes.0", 3),
        ("routes.0.host", "a b"),
        ("routes.0.pool", 3),
        ("routes", 3),
        ("mcmp", 3),
        ("mcmp.agents", 3),
        ("mcmp.agents.token_file", "none"),
        ("admin.token_file", "none"),
    ]
    for path, value in bad:
        file = yaml.safe_load(GOOD)
        fault = put(path, value)
        fault.make(file)
        found = said(file, folder)
        wanted = fault.said[0]
        # A listener is known by its name, even by one that is not allowed.
        extra = 1 if path == "listeners.0.name" else 0
        assert len(found) == 1 + extra, (path, found)
        assert any(at == wanted for at, _ in found), (path, found)


def test_a_misspelt_key_is_said_once(folder: Path) -> None:
    file = yaml.safe_load(GOOD)
    file["pools"]["idp"]["profile"] = "generic"
    file["pools"]["idp"]["sticky"] = {"by": ["route"], "coookie": "A"}
    assert [path for path, _ in said(file, folder)] == ["pools.idp.sticky.coookie"]


def test_a_pool_with_a_bad_name_is_looked_into(folder: Path) -> None:
    file = yaml.safe_load(GOOD)
    file["pools"]["i dp"] = file["pools"].pop("idp")
    file["pools"]["i dp"]["nodes"][1]["name"] = "kc1"
    file["routes"][2]["pool"] = "i dp"
    found = sorted(path for path, _ in said(file, folder))
    assert found == ["pools.i dp", "pools.i dp.nodes[1].name"]


def test_clashes_of_three_bad_entries_are_found(folder: Path) -> None:
    file = yaml.safe_load(GOOD)
    for node in file["pools"]["idp"]["nodes"]:
        node |= {"name": "kc1", "weight": 0}
    found = said(file, folder)
    assert len([path for path, text in found if "taken" in text]) == 2
    assert len(found) == 5
