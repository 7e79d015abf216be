"""An agent's file: what it becomes, and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from lbproxy.config.addresses import parse_page_url, parse_proxy_url
from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_load import AgentLoadResult, load_agent_config, parse_agent_config

LEAST = """\
node:
  route: kc1
  url: "http://10.0.0.21:8080"
proxies:
  - "http://10.0.0.5:6666"
"""


def parse(
    text: str, base: Path = Path("/"), environment: Mapping[str, str] | None = None
) -> AgentLoadResult:
    return parse_agent_config(text, "a.yaml", base, environment or {})


def valid(text: str, base: Path = Path("/"), **environment: str) -> AgentConfig:
    result = parse(text, base, environment)
    assert result.config is not None, "\n".join(map(str, result.problems))
    assert not result.problems
    return result.config


def problems(text: str, base: Path = Path("/"), **environment: str) -> list[str]:
    result = parse(text, base, environment)
    return [str(problem) for problem in result.problems]


def test_the_least_that_is_needed() -> None:
    config = valid(LEAST)
    assert config.node.route == "kc1"
    assert config.node.contexts == ("/",)
    assert config.interval == 5.0
    assert config.drain.deadline == 60.0
    assert config.load.source == "cpu"


def test_a_file_that_is_no_mapping() -> None:
    assert problems("[]") == ["a.yaml:1:1: must hold node and proxies"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    [problem] = load_agent_config(tmp_path / "none.yaml", {}).problems
    assert problem.message == "cannot be read: No such file or directory"


def test_the_profile_says_where_health_is_and_which_cookie_has_the_route() -> None:
    node = valid(f"profile: keycloak\n{LEAST}").node
    assert (node.health.path, node.health.port, node.health.scheme) == (
        "/health/ready",
        9000,
        "auto",
    )
    assert node.session_cookie == "AUTH_SESSION_ID"


@pytest.mark.parametrize(
    ("profile", "path", "body", "soft"),
    [
        ("fusionauth", "/api/status", None, "460"),
        ("wso2is", "/api/health-check/v1.0/health", '"health"', ""),
        ("curity", "/serving", None, ""),
    ],
)
def test_profiles(profile: str, path: str, body: str | None, soft: str) -> None:
    node = valid(f"profile: {profile}\n{LEAST}").node
    assert (node.health.path, node.health.body, node.health.soft) == (path, body, soft)
    assert node.session_cookie is None


def test_a_page_that_is_given_whole_replaces_where_the_profile_looks() -> None:
    text = f"profile: keycloak\n{LEAST}".replace(
        "proxies", '  health: {url: "http://127.0.0.1:9000/x", fall: 5}\nproxies'
    )
    health = valid(text).node.health
    assert health.url == "http://127.0.0.1:9000/x"
    assert health.port is None
    assert health.fall == 5


def test_environment_variables_are_filled_in() -> None:
    text = LEAST.replace("kc1", "${POD_NAME}").replace("10.0.0.21", "${POD_IP}")
    node = valid(text, POD_NAME="kc-0", POD_IP="10.1.2.3").node
    assert node.route == "kc-0"
    assert node.url == "http://10.1.2.3:8080"


def test_a_variable_that_is_not_there_is_the_only_complaint() -> None:
    text = LEAST.replace("kc1", "${POD_NAME}").replace("10.0.0.21", "${POD_IP}")
    assert problems(text, POD_IP="") == [
        "a.yaml:2:10: node.route: there is no environment variable 'POD_NAME'",
        "a.yaml:3:8: node.url: there is no environment variable 'POD_IP'",
    ]


def node(lines: str) -> str:
    return LEAST.replace("proxies:", f"  {lines}\nproxies:")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            f"{LEAST}intervall: 3s\n",
            "6:1: intervall: unknown key; did you mean interval? (allowed here: profile, node, "
            "proxies, every_address, tls, token_file, token_env, load, interval, timeout, drain, "
            "control)",
        ),
        (
            f"profile: keyclock\n{LEAST}",
            "1:10: profile: there is no such profile; did you mean keycloak? (profiles: generic, "
            "fusionauth, keycloak, keycloak-legacy, wso2is, curity)",
        ),
        (
            LEAST.replace("route: kc1", "balancer: a"),
            "1:1: node.route: is missing (its name at lbproxy, and the suffix that it writes into "
            "session cookies (JVMRoute))",
        ),
        (
            LEAST.replace("kc1", "'kc,1'"),
            "2:10: node.route: must be letters, digits, . _ and -, and begin with a letter or a "
            "digit",
        ),
        (
            LEAST.replace("10.0.0.21", "0.0.0.0"),
            "3:8: node.url: 0.0.0.0 is no address that lbproxy could connect to",
        ),
        (
            LEAST.replace("10.0.0.21", "127.0.0.1"),
            "3:8: warning: node.url: 127.0.0.1 is, for an lbproxy elsewhere, its own machine and "
            "not this",
        ),
        (
            LEAST.replace(":6666", ""),
            '5:5: proxies[0]: has no port; write "http://10.0.0.5:6666" or '
            '"https://lb.internal:6666"',
        ),
        (
            LEAST.replace("http://10.0.0.5:6666", "ajp://10.0.0.5:6666"),
            "5:5: proxies[0]: must begin with http:// or https://; write "
            '"http://10.0.0.5:6666" or "https://lb.internal:6666"',
        ),
        (
            f'{LEAST}  - "http://10.0.0.5:6666/"\n',
            "6:5: proxies[1]: 'http://10.0.0.5:6666' is taken by proxies[0]",
        ),
        (
            node("contexts: [/a, '/b,c']"),
            "4:18: node.contexts[1]: must be a path of letters, digits and the signs . _ ~ ! $ & "
            "( ) * + = : @ - between slashes",
        ),
        (
            node("contexts: [/a, /a]"),
            "4:18: node.contexts[1]: '/a' is taken by node.contexts[0]",
        ),
        (
            node('health: {url: "http://h:1/x", path: /y}'),
            "4:39: node.health.path: has no effect: url says the whole page",
        ),
        (
            node("health: {url: 'h:1/x'}"),
            '4:17: node.health.url: not the address of a page; write "http://127.0.0.1:9000/'
            'health/ready"',
        ),
        (
            node("health: {tls: {verify: false}}"),
            "4:17: node.health.tls: has no effect on an http:// page",
        ),
        (
            node("health: {soft: '200'}"),
            "4:18: node.health.soft: 200 is in expect as well; a code means one thing",
        ),
        (
            node("health: {expect: ''}"),
            "4:20: node.health.expect: must name at least one status code",
        ),
        (
            LEAST.replace("http://10.0.0.21:8080", "ajp://10.0.0.21:8009"),
            "1:1: node.health: an ajp node has no page at its url; write url, or scheme and port",
        ),
        (
            f"{LEAST}tls: {{server_name: x}}\n",
            "6:6: tls: has no effect: no proxy begins with https://",
        ),
        (f"{LEAST}load: {{source: fixed}}\n", "6:7: load: needs value with source: fixed"),
        (f"{LEAST}load: {{source: file}}\n", "6:7: load: needs file with source: file"),
        (
            f"{LEAST}load: {{value: 3}}\n",
            "6:15: load.value: has an effect with source: fixed only",
        ),
        (
            f"{LEAST}load: {{source: fixed, value: 101}}\n",
            "6:30: load.value: must be at most 100",
        ),
        (
            f"{LEAST}drain: {{sessions: 60s}}\n",
            "6:19: drain.sessions: 1m leaves nothing of the deadline of 1m, which is for the whole "
            "of leaving",
        ),
        (
            f'{LEAST}control: "0.0.0.0:7000"\n',
            "6:10: control: 0.0.0.0 is reachable from other machines, which could make the node "
            "leave; write unix:/path or 127.0.0.1:port",
        ),
        (
            f"{LEAST}token_env: NONE\n",
            "6:12: token_env: there is no environment variable 'NONE'",
        ),
        (
            f"{LEAST}token_env: SHORT\n",
            "6:12: token_env: holds less than 16 characters; make one with: openssl rand -hex 32",
        ),
    ],
)
def test_what_is_wrong_and_where(text: str, wanted: str) -> None:
    found = [each.removeprefix("a.yaml:") for each in problems(text, SHORT="secret")]
    assert found == [wanted]


def test_several_errors_come_at_once() -> None:
    assert len(problems("node: {}\nproxies: []\nx: 1\n")) == 4


def test_a_token_and_tls_files(folder: Path) -> None:
    text = LEAST.replace("http://10.0.0.5", "https://10.0.0.5")
    text += "tls: {ca: tls/nodes-ca.crt, cert: tls/mcmp.crt, key: tls/mcmp.key}\n"
    config = valid(f"{text}token_file: agents.token\n", folder)
    assert config.token_file == str(folder / "agents.token")
    assert config.tls.key == str(folder / "tls/mcmp.key")


@pytest.mark.parametrize(
    ("tls", "wanted"),
    [
        ("cert: tls/mcmp.crt", "needs cert and key, or neither"),
        ("cert: tls/mcmp.crt, key: tls/idp.key", "is refused with its key by OpenSSL: key values"),
        ("ca: short", "holds no certificate in PEM form"),
        ("ca: none.pem", "there is no file "),
    ],
)
def test_tls_that_cannot_be_used(tls: str, wanted: str, folder: Path) -> None:
    text = LEAST.replace("http://10.0.0.5", "https://10.0.0.5")
    [found] = problems(f"{text}tls: {{{tls}}}\n", folder)
    assert wanted in found


def test_a_key_with_a_passphrase_is_refused_without_asking(
    folder: Path, authority: trustme.CA
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((folder / "tls/mcmp.key").read_bytes(), None)
    (folder / "locked.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    text = LEAST.replace("http://10.0.0.5", "https://10.0.0.5")
    [found] = problems(f"{text}tls: {{cert: tls/mcmp.crt, key: locked.key}}\n", folder)
    assert "is refused with its key by OpenSSL" in found


def test_one_secret_is_enough(folder: Path) -> None:
    both = f"{LEAST}token_file: agents.token\ntoken_env: TOKEN\n"
    [found] = problems(both, folder, TOKEN="0123456789abcdef")
    assert "is one too many: token_file holds the secret" in found
    assert valid(f"{LEAST}token_env: TOKEN\n", TOKEN="0123456789abcdef").token_env == "TOKEN"
    [found] = problems(f"{LEAST}token_file: short\n", folder)
    assert "holds less than 16 characters" in found
    assert "secret" not in found.split("holds")[1]


def test_addresses() -> None:
    url = parse_proxy_url("https://[fd00::5]:6666")
    assert (url.scheme, url.host, url.port) == ("https", "fd00::5", 6666)
    place, path = parse_page_url("http://[::1]:9000/health/ready")
    assert (place.host, place.port, path) == ("::1", 9000, "/health/ready")
    for wrong in ("http://h", "http://h/a?b", "http://h/a b", "ftp://h/a", "http://u@h/a"):
        with pytest.raises(ValueError, match="not the address of a page"):
            parse_page_url(wrong)


def test_what_does_not_fit_is_found_beside_what_is_bad_by_itself() -> None:
    text = """\
node: {route: a, url: "http://10.0.0.1:8080", contexts: [/a, /a], health: {fall: 0, soft: 200}}
proxies: ["http://10.0.0.5:6666", "http://10.0.0.5:6666", "10.0.0.6"]
load: {source: fixed}
drain: {sessions: 2m}
colour: red
"""
    result = parse_agent_config(text, "x.yaml", Path("/nowhere"), {})
    assert {problem.path for problem in result.problems} == {
        "node.contexts[1]",
        "node.health.fall",
        "node.health.soft",
        "proxies[1]",
        "proxies[2]",
        "load",
        "drain.sessions",
        "colour",
    }
    # What rests on a bad value is not said: any proxy may be https, and any page.
    text = """\
node: {route: a, url: "htp://127.0.0.1", health: {tls: {verify: false}}}
proxies: ["10.0.0.6"]
tls: {server_name: lb.internal}
load: {source: fixd, value: 3}
"""
    result = parse_agent_config(text, "x.yaml", Path("/nowhere"), {})
    assert [problem.path for problem in result.problems] == [
        "node.url",
        "proxies[0]",
        "load.source",
    ]
