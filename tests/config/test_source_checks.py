"""Checks of the sources of nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.config.read import parse_config
from lbproxy.config.schema import Policy

FILE = """
listeners: [{{name: http, bind: "127.0.0.1:8080"}}]
pools:
  idp:
    {pool}
routes: [{{pool: idp}}]
{rest}
"""
NODE = "nodes: [{name: a, url: 'http://10.0.0.1'}]"
ANNOUNCED = "mcmp: {{bind: '127.0.0.1:6666', pool: idp, {more}}}"
ALLOWED = "bind: '10.0.0.5:6666', allow: [10.0.0.0/24], pool: idp"


def said(pool: str = NODE, rest: str = "", base: Path = Path("/")) -> list[str]:
    result = parse_config(FILE.format(pool=pool, rest=rest), "x.yaml", base)
    return [f"{problem.path}: {problem.message}" for problem in result.problems]


@pytest.mark.parametrize(
    ("pool", "rest", "expected"),
    [
        ("profile: generic", "", "pools.idp: has no nodes"),
        (
            "health: off",
            "mcmp: {bind: '127.0.0.1:6666', pool: idp}",
            "pools.idp.health: off: a node",
        ),
        (
            "{health: off, nodes: [{name: a, url: 'http://10.0.0.1', health: {port: 9}}]}",
            "",
            "pools.idp.nodes[0].health: has no effect",
        ),
        (
            "{health: {port: 9}, nodes: [{name: a, url: 'http://b:1'}, {name: c, url: 'http://b:2'}]}",
            "",
            "pools.idp.nodes[1]: is probed at b port 9, as a is",
        ),
        (NODE, "resolver: {min_ttl: 10m}", "resolver.min_ttl: is longer than max_ttl"),
        ("discover: {}", "", "pools.idp.discover: needs exactly one of dns and srv"),
        ("discover: {dns: a, srv: b}", "", "pools.idp.discover: needs exactly one of dns and srv"),
        ("discover: {dns: a}", "", "pools.idp.discover: needs port"),
        ("discover: {srv: a, port: 1}", "", "pools.idp.discover.port: has no effect"),
        ("discover: {srv: a, tls: {verify: false}}", "", "pools.idp.discover.tls: has no effect"),
        (
            "discover: {srv: a, packet_size: 16KiB}",
            "",
            "pools.idp.discover.packet_size: has an effect on ajp nodes only",
        ),
        (
            "discover: {srv: a, scheme: https, tls: {verify: false}}",
            "",
            "pools.idp.discover.tls.verify: false: whoever answers",
        ),
        ("discover: {dns: a b, port: 1}", "", "pools.idp.discover.dns: must be a name in DNS"),
        (
            "nodes: [{name: a, url: 'ajp://10.0.0.1'}]",
            "",
            "pools.idp.nodes[0].url: AJP without secret_file",
        ),
        (
            "discover: {srv: a, scheme: ajp}",
            "",
            "pools.idp.discover.scheme: AJP without secret_file",
        ),
        (
            "nodes: [{name: a, url: 'http://10.0.0.1', packet_size: 16KiB}]",
            "",
            "pools.idp.nodes[0].packet_size: has an effect on ajp nodes only",
        ),
        (NODE, "mcmp: {bind: '127.0.0.1:6666', pool: ipd}", "mcmp.pool: there is no pool 'ipd'"),
        (NODE, "mcmp: {bind: '10.0.0.5:6666', pool: idp}", "mcmp.bind: 10.0.0.5 is reachable"),
        (NODE, "mcmp: {bind: '127.0.0.1:8080', pool: idp}", "mcmp.bind: '127.0.0.1:8080' is taken"),
        (NODE, f"mcmp: {{{ALLOWED}}}", "mcmp.tls: off: what a machine"),
        (
            NODE,
            "mcmp: {bind: '127.0.0.1:6666', allow: [0.0.0.0/0], pool: idp}",
            "mcmp.allow[0]: is everybody",
        ),
        (
            NODE,
            "mcmp: {bind: '127.0.0.1:6666', pool: idp, agents: {allow: [127.0.0.1]}}",
            "mcmp.agents: needs token_file",
        ),
        (
            NODE,
            "mcmp: {bind: '127.0.0.1:6666', pool: idp, agents: {allow: ['::/0']}}",
            "mcmp.agents.allow[0]: is everybody",
        ),
        (
            NODE,
            "mcmp: {bind: '127.0.0.1:6666', pool: idp, advertise: {group: '10.0.0.1:23364'}}",
            "mcmp.advertise.group: 10.0.0.1 is no multicast address",
        ),
        (
            NODE,
            "mcmp: {bind: 'unix:/run/m', pool: idp, advertise: {}}",
            "mcmp.advertise: nodes cannot be told",
        ),
        (
            NODE,
            "mcmp: {bind: 'localhost:6666', pool: idp, advertise: {}}",
            "mcmp.advertise: nodes are told an address",
        ),
        (
            NODE,
            "mcmp: {bind: '[fe80::1]:6666', allow: ['fe80::/10'], pool: idp, advertise: {}}",
            "mcmp.advertise: fe80::1 means something only",
        ),
        (
            NODE,
            "mcmp: {bind: '127.0.0.1:6666', pool: idp, advertise: {group: '224.0.1.105:70000'}}",
            "mcmp.advertise.group: there is no port 70000",
        ),
        (NODE, "state_file: state.json", "state_file: must be an absolute path"),
        (NODE, "resolver: {servers: [dns.example.com]}", "resolver.servers[0]: must be an address"),
    ],
)
def test_what_does_not_fit_is_said(pool: str, rest: str, expected: str) -> None:
    assert any(message.startswith(expected) for message in said(pool, rest)), said(pool, rest)


@pytest.mark.parametrize(
    ("pool", "rest"),
    [
        ("discover: {dns: keycloak-headless.idp.svc, port: 8080}", ""),
        ("discover: {srv: _http._tcp.idp.svc}", ""),
        ("profile: keycloak", "mcmp: {bind: '127.0.0.1:6666', pool: idp, advertise: {}}"),
        ("nodes: [{name: a, url: 'ajp://127.0.0.1:8009'}]", ""),
    ],
)
def test_what_fits_is_taken(pool: str, rest: str) -> None:
    assert said(pool, rest) == []


@pytest.mark.parametrize(
    ("pool", "rest", "policy"),
    [
        ("profile: keycloak", "", Policy.ROUND_ROBIN),
        ("profile: fusionauth", "", Policy.LEAST_REQUESTS),
        ("profile: keycloak", "mcmp: {bind: '127.0.0.1:6666', pool: idp}", Policy.LOAD),
        ("profile: fusionauth", "mcmp: {bind: '127.0.0.1:6666', pool: idp}", Policy.LOAD),
        ("balance: hash", "mcmp: {bind: '127.0.0.1:6666', pool: idp}", Policy.HASH),
    ],
)
def test_a_pool_that_nodes_join_follows_their_load_unless_it_says_otherwise(
    pool: str, rest: str, policy: Policy
) -> None:
    result = parse_config(FILE.format(pool=f"{pool}\n    {NODE}", rest=rest), "x", Path("/"))
    assert result.config is not None
    assert result.config.pools["idp"].balance is policy


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\n", "is empty"), (b"a\nb\n", "several lines")]
)
def test_a_secret_that_is_none(content: bytes, problem: str, tmp_path: Path) -> None:
    """It is found when the file is checked, not when the first login fails."""
    (tmp_path / "ajp.secret").write_bytes(content)
    node = "nodes: [{name: a, url: 'ajp://10.0.0.1', secret_file: ajp.secret}]"
    (finding,) = said(node, base=tmp_path)
    assert finding.startswith("pools.idp.nodes[0].secret_file: ")
    assert problem in finding
    (finding,) = said(rest=ANNOUNCED.format(more="secret_file: ajp.secret"), base=tmp_path)
    assert finding.startswith("mcmp.secret_file: ")
    assert problem in finding


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\n", "is empty"), (b"a\nb\n", "one line"), (b"\xff", "ASCII only")]
)
def test_a_key_of_advertisements_that_nodes_could_not_use(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(content)
    (finding,) = said(rest=ANNOUNCED.format(more="advertise: {key_file: key}"), base=tmp_path)
    assert finding.startswith("mcmp.advertise.key_file: ")
    assert problem in finding


def test_a_secret_of_agents_that_could_be_guessed(tmp_path: Path) -> None:
    """Who holds one message that it signed can try every short one at home."""
    (tmp_path / "token").write_text("0123456789abcde\n")
    agents = "agents: {allow: [10.0.0.0/24], token_file: token}"
    (finding,) = said(rest=f"mcmp: {{bind: '127.0.0.1:6666', pool: idp, {agents}}}", base=tmp_path)
    assert finding.startswith("mcmp.agents.token_file: holds less than 16 characters")


def test_agents_that_sign_need_no_warning(tmp_path: Path) -> None:
    """Without `allow` no other machine is believed without a signature."""
    (tmp_path / "token").write_text("0123456789abcdef\n")
    agents = "agents: {allow: [10.0.0.0/24], token_file: token}"
    assert said(rest=f"mcmp: {{bind: '10.0.0.5:6666', pool: idp, {agents}}}", base=tmp_path) == []


def test_nodes_of_one_machine_have_health_ports_of_their_own() -> None:
    nodes = ", ".join(
        f"{{name: n{port}, url: 'http://b:{port}', health: {{port: {port + 1000}}}}}"
        for port in (8080, 8081)
    )
    assert said(f"{{health: {{port: 9000}}, nodes: [{nodes}]}}") == []
