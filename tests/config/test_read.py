"""Configurations with mistakes: each is found, in its place, with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.config.document import MAX_BYTES
from lbproxy.config.findings import Severity
from lbproxy.config.read import load_config
from lbproxy.config.schema import AccessLogSettings, Policy, StickySettings
from tests.config.texts import GOOD, good, load, pool, said


def test_a_good_file_is_a_config() -> None:
    config = good()
    assert config.workers == "auto"
    assert config.listeners[0].bind.port == 8080
    assert [node.name for node in config.pools["idp"].nodes] == ["node1", "node2"]
    assert config.access_log == AccessLogSettings()
    assert config.admin is False


def test_off_turns_sections_off() -> None:
    text = pool("sticky: off\n    health: off\n    ejection: off\n    retry: off")
    config = good(f"{text}access_log: off\nlimits: {{body: off}}\n")
    idp = config.pools["idp"]
    assert idp.sticky is idp.health is idp.ejection is idp.retry is False
    assert config.access_log is config.limits.body is False


def test_numbers_that_everybody_understands_need_no_quotes(folder: Path) -> None:
    text = pool("health: {expect: 204}").replace(
        'bind: "127.0.0.1:8080"',
        "bind: 127.0.0.1:8080, tls: {min_version: 1.3, "
        "certificates: [{cert: tls/idp.crt, key: tls/idp.key}]}",
    )
    tls = good(text, folder).listeners[0].tls
    assert tls is not None
    assert tls.min_version == "1.3"
    assert tls.certificates[0].cert == str(folder / "tls" / "idp.crt")


def test_a_profile_is_below_the_own_keys() -> None:
    config = good(pool("profile: keycloak\n    balance: hash\n    sticky: {cookie: OTHER}"))
    idp = config.pools["idp"]
    assert idp.balance is Policy.HASH
    assert idp.sticky == StickySettings(cookie="OTHER", also=("AUTH_SESSION_ID_LEGACY",))
    assert "/realms/" in idp.expose


CASES = [
    # the file as a whole
    ("", "x.yaml:1:1: must hold listeners, pools and routes"),
    ("- a", "x.yaml:1:1: must hold listeners, pools and routes"),
    ("a: [", "x.yaml:1:5: not valid YAML while parsing a flow node: expected the node content"),
    ("a: b: c", "x.yaml:1:5: not valid YAML: mapping values are not allowed here; look for"),
    ("a: b\n\tc: d", "x.yaml:2:1: not valid YAML while scanning for the next token: found"),
    ("a: 1\nb: \x01", "x.yaml:2:4: the character U+0001 is not allowed"),
    (GOOD + "--- {}", "x.yaml:10:1: not valid YAML"),
    (GOOD + "limits: {}\nlimits: {}", "x.yaml:11:1: limits: written twice; it is on line 10"),
    (GOOD + "<<: {}", "x.yaml:10:1: merge keys (<<) are not supported"),
    (GOOD + "? [a]\n: b", "x.yaml:10:3: a key must be text"),
    (
        GOOD + "limits: !!python/object/apply:os.system [id]",
        "x.yaml:10:9: limits: the tag tag:yaml.org,2002:python/object/apply:os.system is not",
    ),
    ("listeners: " + "[" * 100, "x.yaml:1:43: nested deeper than 32 levels"),
    ("a: &a [*a]", "x.yaml:1:4: nested deeper than 32 levels; does an alias hold itself?"),
    # keys
    (GOOD + "listners: []", "x.yaml:10:1: listners: unknown key; did you mean listeners? (allowed"),
    (
        GOOD + "mcmpp: {}",
        "x.yaml:10:1: mcmpp: unknown key; did you mean mcmp? (allowed here: workers,",
    ),
    (
        pool("healt: {}"),
        "x.yaml:5:5: pools.idp.healt: unknown key; did you mean health? (allowed here: profile,",
    ),
    (
        pool("health: {intervall: 5s}"),
        "x.yaml:5:14: pools.idp.health.intervall: unknown key; did you mean interval?",
    ),
    (
        GOOD.replace('url: "http://10.0.0.2:9011"', "uri: x"),
        "x.yaml:7:23: pools.idp.nodes[1].uri: unknown key; did you mean url? (allowed here: name,",
    ),
    (
        GOOD.replace('url: "http://10.0.0.2:9011"', "weight: 1"),
        "x.yaml:7:9: pools.idp.nodes[1].url: is missing (",
    ),
    ("routes: [{pool: a}]", "x.yaml:1:1: listeners: is missing (where clients are accepted)"),
    (
        GOOD.replace("  idp:", "  id p:"),
        "x.yaml:4:3: pools.id p: must be letters, digits, . _ and -",
    ),
    # values
    (
        GOOD + "workers: many",
        "x.yaml:10:10: workers: must be auto, or how many processes serve clients, from 1 to 64",
    ),
    (GOOD + "timeouts: {drain: 5}", "x.yaml:10:19: timeouts.drain: not a duration; write a number"),
    (GOOD + "timeouts: {drain: 0s}", "x.yaml:10:19: timeouts.drain: must be more than 0s"),
    (GOOD + "limits: {head: 64k}", "x.yaml:10:16: limits.head: not a size; write bytes or"),
    (GOOD + "limits: {body: on}", "x.yaml:10:16: limits.body: not a size; write bytes or a number"),
    (GOOD + "limits: {fields: many}", "x.yaml:10:18: limits.fields: must be a whole number"),
    (GOOD + "limits: {fields: 0}", "x.yaml:10:18: limits.fields: must be more than 0"),
    (GOOD + "forwarding: {chain: maybe}", "x.yaml:10:21: forwarding.chain: must be true or false"),
    (
        GOOD + "forwarding: {fields: forwardet}",
        "x.yaml:10:22: forwarding.fields: must be 'x-forwarded', 'forwarded' or 'both'; did you",
    ),
    (
        GOOD + "forwarding: {trusted_proxies: [10.0.0.1/8]}",
        "x.yaml:10:32: forwarding.trusted_proxies[0]: not a network: 10.0.0.1/8 has host bits set",
    ),
    (
        GOOD + "forwarding: {trusted_proxies: 10.0.0.0/8}",
        "x.yaml:10:31: forwarding.trusted_proxies: must be a list; write [a, b], or each entry",
    ),
    (GOOD + "timeouts:", "x.yaml:10:10: timeouts: must be a section; its keys: tls_handshake,"),
    (
        GOOD + "access_log: on",
        "x.yaml:10:13: access_log: must be a section or off; its keys: path,",
    ),
    (
        GOOD + "access_log: {path: a.log}",
        "x.yaml:10:20: access_log.path: must be - (standard output)",
    ),
    (
        GOOD.replace("name: node1", "name: 5"),
        "x.yaml:6:16: pools.idp.nodes[0].name: must be text; put it in quotes",
    ),
    (
        GOOD.replace("127.0.0.1:8080", "8080"),
        "x.yaml:2:24: listeners[0].bind: not an address to listen on",
    ),
    (
        GOOD.replace("name: http", "name: a b"),
        "x.yaml:2:12: listeners[0].name: must be letters, digits, _",
    ),
    (pool("panic_threshold: 1"), "x.yaml:5:22: pools.idp.panic_threshold: must be less than 1"),
    (pool("hide: [admin]"), "x.yaml:5:12: pools.idp.hide[0]: must be a plain path: begin with /"),
    *(
        (pool(f"hide: ['{path}']"), f"x.yaml:5:12: pools.idp.hide[0]: must {problem}")
        # What no request could be found under.
        for path, problem in (
            *((path, "be a plain path: begin with /") for path in ("/a%20", "/é", "/a\\b")),
            *((path, "hold no empty segment") for path in ("//a", "/a/../b", "/./a", "/..")),
        )
    ),
    *(
        (
            GOOD.replace('1:9011"', f'1:9011", tls: {{server_name: "{name}"}}'),
            "x.yaml:6:71: pools.idp.nodes[0].tls.server_name: not a host; write a name",
        )
        for name in (".x", "a" * 64, "a b", "idp.internal:443", "")
    ),
    (
        pool("balance: roundrobin"),
        "x.yaml:5:14: pools.idp.balance: must be 'round_robin', 'least_req",
    ),
    (
        pool("profile: fusionaut"),
        "x.yaml:5:14: pools.idp.profile: there is no such profile; did you mean fusionauth?",
    ),
    (
        pool("health: {expect: 2xx}"),
        "x.yaml:5:22: pools.idp.health.expect: '2xx' is no status code",
    ),
    (pool("health: {expect: ''}"), "x.yaml:5:22: pools.idp.health.expect: must name at least one"),
    (pool("health: {soft: 200}"), "x.yaml:5:20: pools.idp.health.soft: 200 is in expect as well"),
    (
        GOOD.replace("http://10.0.0.1:9011", "http://a/auth"),
        "x.yaml:6:28: pools.idp.nodes[0].url: must end after host and port",
    ),
    (
        GOOD.replace("{pool: idp}", "{pool: idp, host: 'a:80'}"),
        "x.yaml:9:23: routes[0].host: not a host; write",
    ),
    (
        GOOD.replace("{pool: idp}", "{pool: idp, path: a}"),
        "x.yaml:9:23: routes[0].path: must be a plain path",
    ),
    # across sections
    (
        GOOD.replace("{pool: idp}", "{pool: ipd}"),
        "x.yaml:9:12: routes[0].pool: there is no pool 'ipd'; did you mean idp?",
    ),
    (
        GOOD.replace("name: node2", "name: node1"),
        "x.yaml:7:16: pools.idp.nodes[1].name: 'node1' is taken by pools.idp.nodes[0].name",
    ),
    (
        GOOD.replace("name: node2", "name: node2, route: node1"),
        "x.yaml:7:30: pools.idp.nodes[1].route: 'node1' is taken by pools.idp.nodes[0].route",
    ),
    (
        GOOD.replace("name: node1,", "name: node1, tls: {verify: false},"),
        "x.yaml:6:28: pools.idp.nodes[0].tls: has no effect on an http:// node",
    ),
    (
        GOOD.replace("pools:", "  - {name: http, bind: 127.0.0.1:8081}\npools:"),
        "x.yaml:3:12: listeners[1].name: 'http' is taken by listeners[0].name",
    ),
    (
        GOOD.replace("pools:", "  - {name: b, bind: 127.0.0.1:8080}\npools:"),
        "x.yaml:3:21: listeners[1].bind: '127.0.0.1:8080' is taken by listeners[0].bind",
    ),
    (
        GOOD + "admin: {bind: 127.0.0.1:8080}",
        "x.yaml:10:15: admin.bind: '127.0.0.1:8080' is taken by listeners[0].bind",
    ),
    (
        GOOD.replace('8080"', '8080", redirect_to: https'),
        "x.yaml:2:55: listeners[0].redirect_to: there is no listener 'https'; did you mean http?",
    ),
    (
        GOOD.replace('8080"', '8080", redirect_to: http'),
        "x.yaml:2:55: listeners[0].redirect_to: must name another listener, not its own",
    ),
    (
        GOOD.replace('8080"}', '8080", redirect_to: b}\n  - {name: b, bind: 127.0.0.1:81}'),
        "x.yaml:2:55: listeners[0].redirect_to: listener 'b' has no tls",
    ),
    (
        GOOD.replace('127.0.0.1:8080"', 'unix:/x", proxy_protocol: {trusted: [10.0.0.0/8]}'),
        "x.yaml:2:51: listeners[0].proxy_protocol: has no effect on a Unix socket",
    ),
    (
        pool("sticky: {by: [route]}"),
        "x.yaml:5:13: pools.idp.sticky: needs cookie, the name of the session",
    ),
    (
        pool("sticky: {by: [learned]}"),
        "x.yaml:5:13: pools.idp.sticky: needs cookie, the name of the session",
    ),
    (
        pool("sticky: {by: [hash]}"),
        "x.yaml:5:13: pools.idp.sticky: needs cookie, the name of the session",
    ),
    (
        pool("sticky: {by: [path_parameter]}"),
        "x.yaml:5:13: pools.idp.sticky: needs path_parameter, such as",
    ),
    (
        pool("sticky: {by: [route, route], cookie: A}"),
        "x.yaml:5:26: pools.idp.sticky.by[1]: 'route' is taken by pools.idp.sticky.by[0]",
    ),
    (
        GOOD + "admin: {bind: '0.0.0.0:9090'}",
        "x.yaml:10:15: admin.bind: 0.0.0.0 is reachable from other",
    ),
    (GOOD + "admin: {bind: 'idp:9090'}", "x.yaml:10:15: admin.bind: idp is reachable from other"),
]


@pytest.mark.parametrize(("text", "problem"), CASES)
def test_an_error_says_where_and_what_is_allowed(text: str, problem: str) -> None:
    result = load(text)
    assert result.config is None
    lines = [str(problem) for problem in result.problems]
    assert any(line.startswith(problem) for line in lines), "\n".join(lines)


@pytest.mark.parametrize("bind", ["127.0.0.1:9090", "[::1]:9090", "localhost:9090", "unix:/run/x"])
def test_the_admin_api_needs_no_token_on_the_machine(bind: str) -> None:
    good(f"{GOOD}admin: {{bind: '{bind}'}}")


def test_listeners_may_ask_for_any_port() -> None:
    text = GOOD.replace("127.0.0.1:8080", "127.0.0.1:0")
    good(text.replace("pools:", '  - {name: b, bind: "127.0.0.1:0"}\npools:'))


def test_all_errors_of_a_file_come_at_once() -> None:
    """Also those across sections, and with the indices that the entries have in the file."""
    text = """\
workers: 65
listeners:
  - {name: broken, bind: x}
  - {name: http, bind: "127.0.0.1:1"}
  - {name: http, bind: "127.0.0.1:2", redirect_to: broken}
  - {name: last, bind: "127.0.0.1:1", redirect_to: none}
pools:
  idp:
    profile: keycloack
    nodes:
      - {name: a}
      - {name: b, url: "http://b"}
      - {name: b, url: "http://b", wait: 1}
  other: 3
routes:
  - {pool: other, path: x}
  - {pool: idp, host: "*.a"}
  - {pool: nothing, host: "b.a"}
"""
    assert [line.split(": ")[0:2] for line in said(text)] == [
        ["x.yaml:1:10", "workers"],
        ["x.yaml:3:26", "listeners[0].bind"],
        ["x.yaml:5:12", "listeners[2].name"],
        ["x.yaml:5:52", "listeners[2].redirect_to"],
        ["x.yaml:6:24", "listeners[3].bind"],
        ["x.yaml:6:52", "listeners[3].redirect_to"],
        ["x.yaml:9:14", "pools.idp.profile"],
        ["x.yaml:11:9", "pools.idp.nodes[0].url"],
        ["x.yaml:13:16", "pools.idp.nodes[2].name"],
        ["x.yaml:13:36", "pools.idp.nodes[2].wait"],
        ["x.yaml:14:10", "pools.other"],
        ["x.yaml:16:25", "routes[0].path"],
        ["x.yaml:18:5", "warning"],
        ["x.yaml:18:12", "routes[2].pool"],
    ]
    taken = [line for line in said(text) if "is taken by" in line]
    assert [line.rpartition(" ")[2] for line in taken] == [
        "listeners[1].name",
        "listeners[1].bind",
        "pools.idp.nodes[1].name",
    ]


def test_consequences_of_an_error_are_not_errors_of_their_own() -> None:
    [line] = said(pool("sticky: {cookie: 'A B'}"))
    assert "pools.idp.sticky.cookie" in line
    [line] = said(
        GOOD.replace("http://10.0.0.1:9011", "x").replace("http://10.0.0.2:9011", "http://a")
    )
    assert "nodes[0].url" in line
    [line] = said(GOOD.replace("127.0.0.1:8080", "x"))
    assert "listeners[0].bind" in line


def test_aliases_are_counted_each_time_they_are_used() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 25)
    )
    [line] = said(bomb)
    assert "more than 100000 values" in line


def test_plain_aliases_work() -> None:
    text = GOOD.replace("  idp:", "  idp: &idp").replace("routes:", "  more: *idp\nroutes:")
    config = good(text.replace("{pool: idp}", "{pool: idp, path: /a}\n  - {pool: more}"))
    assert config.pools["more"] == config.pools["idp"]


def test_keys_that_yaml_takes_for_other_things_are_text() -> None:
    [line] = said(GOOD + "off: 1")
    assert line.startswith("x.yaml:10:1: off: unknown key")


def test_a_leading_zero_is_not_octal() -> None:
    assert good(GOOD + "limits: {fields: 010}").limits.fields == 10


def test_a_thousand_nodes_and_routes_load() -> None:
    nodes = "".join(
        f'      - {{name: n{i}, url: "http://10.0.{i // 250}.{i % 250}:80"}}\n' for i in range(1000)
    )
    routes = "".join(f"  - {{host: h{i}.example.com, path: /a, pool: idp}}\n" for i in range(1000))
    text = GOOD.split("      - {name: node1")[0] + nodes + "routes:\n" + routes
    config = good(text)
    assert len(config.pools["idp"].nodes) == len(config.routes) == 1000


def test_a_file_is_read_as_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_config(file).config is not None
    file.write_bytes(b"# \xc3\xa9\n# \xc3\xa9\xe9\n")
    assert [str(problem) for problem in load_config(file).problems] == [
        f"{file}:2:4: is not UTF-8 text"
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    [problem] = load_config(tmp_path / "none.yaml").problems
    assert str(problem) == f"{tmp_path}/none.yaml:1:1: cannot be read: No such file or directory"
    [problem] = load_config(tmp_path).problems
    assert problem.message == "cannot be read: Is a directory"


def test_a_file_may_not_be_endless(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    [problem] = load_config(file).problems
    assert problem.message.startswith(f"larger than {MAX_BYTES} bytes")


pieces = st.sampled_from(
    [
        *GOOD.split("\n"),
        *GOOD.split(" "),
        "\n",
        "  ",
        "[",
        "]",
        "{",
        "}",
        ":",
        "off",
        "&a",
        "*a",
        "- ",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=30).map(" ".join))
def test_no_text_makes_the_loader_fall_over(text: str) -> None:
    result = load(text)
    assert (result.config is None) == any(
        problem.severity is Severity.ERROR for problem in result.problems
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3)
    ),
    max_leaves=6,
)
places = st.sampled_from(
    ["listeners", "pools", "routes", "limits", "timeouts", "admin", "access_log", "workers"]
)


@settings(max_examples=150, deadline=None)
@given(key=places, value=values)
def test_no_value_makes_the_loader_fall_over(key: str, value: object) -> None:
    data = yaml.safe_load(GOOD) | {key: value}
    load(yaml.safe_dump(data))


def test_a_certificate_that_is_missing_is_the_one_error() -> None:
    text = GOOD.replace(
        '8080"}',
        '8080", redirect_to: b}\n  - {name: b, bind: "127.0.0.1:81", '
        "tls: {certificates: [{cert: no.crt, key: no.key}]}}",
    )
    paths = {problem.path for problem in load(text).problems}
    assert paths == {
        "listeners[1].tls.certificates[0].cert",
        "listeners[1].tls.certificates[0].key",
    }
