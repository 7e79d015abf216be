"""What no section can know alone: files that must be usable, and warnings of what will bite."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from lbproxy.config.findings import Severity
from tests.config.texts import GOOD, good, load, pool, said

from .conftest import write_certificate

FILES = [
    ("cert: tls/no.crt, key: tls/idp.key", "cert: there is no file {folder}/tls/no.crt"),
    ("cert: tls, key: tls/idp.key", "cert: there is no file {folder}/tls"),
    (f"cert: {'a' * 256}, key: tls/idp.key", f"cert: {{folder}}/{'a' * 256} cannot be read: File"),
    ("cert: short, key: tls/idp.key", "cert: holds no certificate in PEM form"),
    ("cert: tls/v6.crt, key: tls/idp.key", "cert: holds no certificate in PEM form"),
    ("cert: tls/idp.crt, key: short", "key: holds no private key in PEM form"),
    ("cert: tls/idp.crt, key: tls/other.key", "key: is not the key of {folder}/tls/idp.crt"),
]


@pytest.mark.parametrize(("names", "problem"), FILES)
def test_certificates_must_be_usable(names: str, problem: str, folder: Path) -> None:
    text = GOOD.replace('8080"', f'8080", tls: {{certificates: [{{{names}}}]}}')
    [line] = said(text, folder)
    assert f"listeners[0].tls.certificates[0].{problem.format(folder=folder)}" in line


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(folder: Path) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    (folder / "locked.key").write_bytes(key)
    text = GOOD.replace(
        '8080"', '8080", tls: {certificates: [{cert: tls/idp.crt, key: locked.key}]}'
    )
    [line] = said(text, folder)
    assert line.endswith("is protected by a passphrase; store it without one")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_must_be_readable(folder: Path) -> None:
    (folder / "token").chmod(0)
    [line] = said(GOOD + "admin: {bind: '127.0.0.1:9090', token_file: token}", folder)
    assert "cannot be read" in line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + "admin: {bind: 0.0.0.0:9090, token_file: short}", "holds less than 16 characters"),
        (GOOD + "admin: {bind: 127.0.0.1:9090, token_file: none}", "there is no file"),
        (GOOD + "admin: {bind: 127.0.0.1:9090, token_file: tls/idp.key}", "holds several lines"),
        (
            GOOD + "admin: {bind: 127.0.0.1:9090, metrics_token_file: token}",
            "admin.metrics_token_file: goes with token_file",
        ),
        (
            GOOD + "admin: {bind: 0.0.0.0:9090, token_file: token, metrics_token_file: short}",
            "admin.metrics_token_file: holds less than 16 characters",
        ),
        (
            GOOD + "admin: {bind: 0.0.0.0:9090, token_file: token, metrics_token_file: token}",
            "admin.metrics_token_file: holds the token of token_file",
        ),
        (
            pool("sticky: {by: [own_cookie], own_cookie: {key_file: short}}"),
            "own_cookie.key_file: holds less than 16 bytes",
        ),
        (
            GOOD.replace('http://10.0.0.1:9011"', 'https://10.0.0.1", tls: {ca: short}'),
            "pools.idp.nodes[0].tls.ca: holds no certificate in PEM form",
        ),
    ],
)
def test_secrets_and_authorities_must_be_usable(text: str, problem: str, folder: Path) -> None:
    [line] = said(text, folder)
    assert problem in line


def test_good_files_become_absolute(folder: Path) -> None:
    text = GOOD + "admin: {bind: 0.0.0.0:9090, token_file: token}"
    config = good(
        text.replace('http://10.0.0.1:9011"', 'https://10.0.0.1", tls: {ca: tls/wso2.crt}'), folder
    )
    assert config.pools["idp"].nodes[0].tls.ca == str(folder / "tls" / "wso2.crt")
    assert config.admin is not False
    assert config.admin.token_file == str(folder / "token")


WARNINGS = [
    (
        pool("profile: fusionauth\n    keepalive: {idle: 20s}"),
        "x.yaml:6:23: warning: pools.idp.keepalive.idle: 20s is not shorter than the nodes' own",
    ),
    (
        pool("profile: keycloak\n    keepalive: {idle: 30m}"),
        "x.yaml:6:23: warning: pools.idp.keepalive.idle: 30m is not shorter than the nodes' own",
    ),
    (
        pool("profile: keycloak\n    sticky: off"),
        "x.yaml:6:13: warning: pools.idp.sticky: off, against the profile: Keycloak needs",
    ),
    (
        pool("profile: fusionauth\n    hide: []"),
        "x.yaml:6:11: warning: pools.idp.hide: replaces the profile's list, so that /admin, ",
    ),
    (
        pool("profile: wso2is\n    sticky: {own_cookie: {key_file: key}}\n    hide: [/carbon]"),
        "x.yaml:7:11: warning: pools.idp.hide: replaces the profile's list, so that /console, ",
    ),
    (
        pool("profile: keycloak\n    expose: []"),
        "x.yaml:6:13: warning: pools.idp.expose: empty, against the profile: every path of Keyc",
    ),
    (
        pool("profile: keycloak\n    expose: [/realms/, /admin/]"),
        "x.yaml:6:24: warning: pools.idp.expose[1]: stays hidden: hide has /admin, and",
    ),
    (
        GOOD.replace("10.0.0.2:9011", "10.0.0.1:9011"),
        "x.yaml:7:28: warning: pools.idp.nodes[1].url: 10.0.0.1 port 9011 is one node and not two",
    ),
    (
        GOOD.replace("http://10.0.0.2:9011", "HTTP://X")
        .replace("10.0.0.1:9011", "x:80/")
        .replace("HTTP://X", "http://X"),
        "x.yaml:7:28: warning: pools.idp.nodes[1].url: x port 80 is one node and not two",
    ),
    (
        pool("health: {interval: 2s, timeout: 3s}"),
        "x.yaml:5:37: warning: pools.idp.health.timeout: 3s is not shorter than the interval of 2s",
    ),
    (
        GOOD.replace("  idp:", "  spare: {nodes: [{name: a, url: 'http://a'}]}\n  idp:"),
        "x.yaml:4:10: warning: pools.spare: no route leads to this pool",
    ),
    (
        pool("sticky: {by: [own_cookie]}"),
        "x.yaml:5:13: warning: pools.idp.sticky: own_cookie has no key_file",
    ),
    (
        pool("balance: hash"),
        "x.yaml:5:14: warning: pools.idp.balance: hash needs the name of the session cookie",
    ),
    (
        pool("sticky: {cookie: A}").replace(
            '      - {name: node2, url: "http://10.0.0.2:9011"}\n', ""
        ),
        "x.yaml:5:13: warning: pools.idp.sticky: has no effect: the pool has one node",
    ),
    (
        GOOD.replace('http://10.0.0.1:9011"', 'https://10.0.0.1", tls: {verify: false}'),
        "x.yaml:6:62: warning: pools.idp.nodes[0].tls.verify: false: whoever answers",
    ),
    (
        GOOD + "forwarding: {trusted_proxies: ['::/0']}",
        "x.yaml:10:32: warning: forwarding.trusted_proxies[0]: is everybody",
    ),
    (
        GOOD.replace('"127.0.0.1:8080"', '"127.0.0.1:8080", redirect_to: http, PROXY').replace(
            "PROXY", "proxy_protocol: {trusted: [10.0.0.0/24]}"
        )
        + "forwarding: {trusted_proxies: [10.0.0.0/8]}",
        "x.yaml:2:55: warning: listeners[0].redirect_to: sends the clients of a balancer that ends",
    ),
    (
        GOOD + "  - {pool: idp, host: a.example}\n",
        "x.yaml:10:5: warning: routes[1]: never matches: all that it could take goes to routes[0]",
    ),
]

WARNINGS += [
    (
        GOOD.replace("{pool: idp}", "{pool: idp, path: /auth/*}"),
        "x.yaml:9:23: warning: routes[0].path: a star is no wildcard here; /auth/ is",
    ),
    (pool("hide: ['/a*']"), "x.yaml:5:12: warning: pools.idp.hide[0]: a star is no wildcard here"),
    (pool("expose: ['/*']"), "x.yaml:5:14: warning: pools.idp.expose[0]: a star is no wildcard"),
]


@pytest.mark.parametrize(("text", "problem"), WARNINGS)
def test_what_will_bite_is_a_warning(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(os.urandom(32))
    result = load(text, tmp_path)
    assert result.config is not None
    [line] = [str(problem) for problem in result.problems]
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("earlier", "later", "shadowed"),
    [
        ("{pool: idp, path: /a}", "{pool: idp, path: /a/b}", True),
        ("{pool: idp, path: /a}", "{pool: idp, path: /a/}", True),
        ("{pool: idp, path: /a}", "{pool: idp, path: /a}", True),
        ("{pool: idp, path: /a/}", "{pool: idp, path: /a/b}", True),
        ("{pool: idp, path: /a/}", "{pool: idp, path: /a}", False),
        ("{pool: idp, path: /a}", "{pool: idp, path: /ab}", False),
        ("{pool: idp, path: /a/b}", "{pool: idp, path: /a}", False),
        ("{pool: idp, host: '*.b.c'}", "{pool: idp, host: a.b.c}", True),
        ("{pool: idp, host: '*.b.c'}", "{pool: idp, host: x.a.b.c, path: /x}", True),
        ("{pool: idp, host: '*.c'}", "{pool: idp, host: '*.b.c'}", True),
        ("{pool: idp, host: '*.b.c'}", "{pool: idp, host: '*.c'}", False),
        ("{pool: idp, host: '*.b.c'}", "{pool: idp, host: b.c}", False),
        ("{pool: idp, host: b.c}", "{pool: idp, host: a.b.c}", False),
        ("{pool: idp, host: b.c}", "{pool: idp}", False),
    ],
)
def test_routes_that_never_match_are_found(earlier: str, later: str, shadowed: bool) -> None:
    text = GOOD.replace("{pool: idp}", f"{earlier}\n  - {later}")
    assert any("never matches" in line for line in said(text)) is shadowed


@pytest.mark.parametrize(
    ("first", "second", "name", "warned"),
    [
        ("{pool: b, path: /b}", "{pool: a}", "LBROUTE", True),
        ("{pool: b, host: x.b.c}", "{pool: a, host: '*.b.c'}", "LBROUTE", True),
        ("{pool: b, host: '*.x.b.c'}", "{pool: a, host: '*.b.c'}", "LBROUTE", True),
        ("{pool: b, host: b.c}", "{pool: a, host: '*.b.c'}", "LBROUTE", False),
        ("{pool: b, host: x.c}", "{pool: a, host: y.c}", "LBROUTE", False),
        ("{pool: b, path: /b}", "{pool: a}", "OTHER", False),
    ],
)
def test_own_cookies_that_push_each_other_out_are_found(
    first: str, second: str, name: str, warned: bool
) -> None:
    nodes = "nodes: [{name: n, url: 'http://10.0.0.1'}, {name: m, url: 'http://10.0.0.2'}]"
    text = f"""\
listeners: [{{name: http, bind: "127.0.0.1:8080"}}]
pools:
  a: {{profile: wso2is, {nodes}}}
  b: {{profile: wso2is, sticky: {{own_cookie: {{name: {name}}}}}, {nodes}}}
routes: [{first}, {second}]
"""
    found = [line for line in said(text) if "browsers keep one" in line]
    assert bool(found) is warned
    assert all("pools.b.sticky: own_cookie has the name LBROUTE" in line for line in found)


def test_certificates_that_expired_or_are_not_valid_yet_are_warnings(
    folder: Path, authority: trustme.CA
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    write_certificate(authority, folder / "old.crt", folder / "old.key", not_after=yesterday)
    text = GOOD.replace('8080"', '8080", tls: {certificates: [{cert: old.crt, key: old.key}]}')
    result = load(text, folder)
    assert result.config is not None
    [problem] = result.problems
    assert problem.severity is Severity.WARNING
    assert problem.message == f"has expired on {yesterday:%Y-%m-%d}"


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For", "x_forwarded_proto", "X.Forwarded.Host", "XForwardedPort", "Forwarded",
        "X-Forwarded-Client-Cert", "HTTP_X_FORWARDED_FOR", "X-Request-Id", "x_request~id", "Host",
        "Content_Length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "Cookie",
    ],
)  # fmt: skip
def test_no_pool_lets_pass_what_is_ours_to_write(name: str) -> None:
    (problem,) = said(pool(f"pass: [X-Client-Cert-Help, '{name}']"))
    assert problem.startswith("x.yaml:5:32: pools.idp.pass[1]: ")
    assert "own to write" in problem


@pytest.mark.parametrize("name", ["X-Client-Cert", "traceparent", "Hostess", "Tenant", "Te-x"])
def test_a_pool_may_let_others_pass(name: str) -> None:
    assert said(pool(f"pass: [{name}]")) == []


BALANCED = "forwarding: {trusted_proxies: [10.0.0.0/8]}"


@pytest.mark.parametrize(
    ("listener", "rest", "problem"),
    [
        ('"127.0.0.1:8080", redirect_to: http', BALANCED, ""),
        ('"127.0.0.1:8080", redirect_to: http, proxy_protocol: {trusted: [10.0.0.0/8]}', "", ""),
        ('"127.0.0.1:8080", redirect_to: http', "", ": listeners[0].redirect_to: must name"),
        ("'unix:/run/x', redirect_to: http", BALANCED, "warning: listeners[0].redirect_to: sends"),
    ],
)
def test_a_listener_may_redirect_to_where_a_balancer_ends_tls(
    listener: str, rest: str, problem: str
) -> None:
    lines = said(GOOD.replace('"127.0.0.1:8080"', listener) + rest)
    assert len(lines) == bool(problem)
    assert all(problem in line for line in lines)


FINE = [
    # What an operator may want, and what must not be warned of.
    pool("health: {interval: 30s}"),
    pool("profile: keycloak\n    hide: [/admin, /health, /metrics, /more]"),
    # Outside of what is exposed, so nothing is open that was not.
    pool("profile: keycloak\n    hide: []"),
    pool("profile: keycloak\n    expose: [/auth/realms/, /auth/resources/]"),
    pool("profile: generic\n    sticky: off\n    hide: []\n    expose: []"),
    pool("profile: fusionauth\n    sticky: off"),
    GOOD.replace("10.0.0.2:9011", "10.0.0.1:9012"),
    GOOD.replace("127.0.0.1:8080", "127.0.0.1:0") + "admin: {bind: 127.0.0.1:0}",
    GOOD + "admin: {bind: '[::1]:8080'}",
    GOOD + "limits: {body: off}",
    GOOD + "admin: {bind: 'unix:/run/x'}",
]


@pytest.mark.parametrize("text", FINE)
def test_what_is_meant_is_not_warned_of(text: str) -> None:
    assert said(text) == []


BODY = "x.yaml:10:16: limits.body: 0 would refuse every body; write off for no limit"


@pytest.mark.parametrize("zero", ["0", "0B", "0MiB"])
def test_no_limit_is_off(zero: str) -> None:
    assert said(GOOD + f"limits: {{body: {zero}}}") == [BODY]


@pytest.mark.parametrize(
    ("listener", "admin", "clash"),
    [
        ("0.0.0.0:8080", "127.0.0.1:8080", True),
        ("127.0.0.1:8080", "0.0.0.0:8080", True),
        ("[::]:8080", "127.0.0.1:8080", True),
        ("[::]:8080", "0.0.0.0:8080", True),
        ("[::]:8080", "[::1]:8080", True),
        ("0.0.0.0:8080", "localhost:8080", True),
        ("0.0.0.0:8080", "[::1]:8080", False),
        ("0.0.0.0:8080", "127.0.0.1:8081", False),
        ("127.0.0.1:8080", "127.0.0.2:8080", False),
    ],
)
def test_addresses_that_take_in_others_clash(
    listener: str, admin: str, clash: bool, folder: Path
) -> None:
    text = GOOD.replace("127.0.0.1:8080", listener)
    lines = said(f"{text}admin: {{bind: '{admin}', token_file: token}}", folder)
    assert [line.partition(": ")[2] for line in lines] == (
        [f"admin.bind: {admin} cannot be bound beside {listener} of listeners[0].bind"]
        if clash
        else []
    )


@pytest.mark.parametrize(
    ("bind", "url", "loops"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("0.0.0.0:8080", "http://localhost:8080", True),
        ("[::]:8080", "https://127.0.0.1:8080", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", False),
        ("127.0.0.1:8080", "http://10.0.0.9:8080", False),
        ("0.0.0.0:8080", "http://10.0.0.9:8080", False),
    ],
)
def test_a_node_is_not_lbproxy_itself(bind: str, url: str, loops: bool) -> None:
    text = GOOD.replace("127.0.0.1:8080", bind).replace("http://10.0.0.1:9011", url)
    lines = said(text)
    assert len(lines) == loops
    assert all("leads back to lbproxy itself, to listeners[0].bind" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("access_log.path", "access_log: {{path: {}}}"),
        ("state_file", "state_file: {}"),
        ("admin.bind", "admin: {{bind: 'unix:{}'}}"),
    ],
)
def test_what_is_written_needs_its_directory(key: str, written: str, tmp_path: Path) -> None:
    assert said(GOOD + written.format(tmp_path / "file")) == []
    [line] = said(GOOD + written.format(tmp_path / "none" / "file"))
    assert f"{key}: there is no directory {tmp_path}/none; make it (systemd: " in line
    [line] = said(GOOD + written.format(tmp_path))
    assert line.endswith("is a directory; name a file in it")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_others_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    [line] = said(GOOD + f"access_log: {{path: {tmp_path / 'file'}}}")
    assert "warning: access_log.path: this user may not write in" in line


def secure(name: str, routes: str) -> str:
    tls = f'8080", tls: {{certificates: [{{cert: {name}.crt, key: {name}.key}}]}}'
    return GOOD.replace('8080"', tls).replace("  - {pool: idp}", routes)


@pytest.mark.parametrize(
    ("names", "host", "named"),
    [
        (["idp.example.com"], "idp.example.com", True),
        (["IDP.example.com"], "idp.example.com", True),
        (["*.example.com"], "idp.example.com", True),
        (["*.example.com"], "*.example.com", True),
        (["a.example.com"], "*.example.com", True),
        (["192.0.2.7"], "192.0.2.7", True),
        (["2001:db8::1"], "'[2001:db8::1]'", True),
        (["idp.example.com"], "sso.example.com", False),
        (["*.example.com"], "a.idp.example.com", False),
        (["*.example.com"], "example.com", False),
        (["example.com"], "*.example.com", False),
        (["192.0.2.8"], "192.0.2.7", False),
    ],
)
def test_hosts_that_no_certificate_names_are_found(
    names: list[str], host: str, named: bool, tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(authority, tmp_path / "x.crt", tmp_path / "x.key", names=names)
    host = host if "'" in host else f"'{host}'"
    lines = said(secure("x", f"  - {{host: {host}, pool: idp}}\n  - {{pool: idp}}"), tmp_path)
    assert len(lines) == (not named)
    assert all("warning: routes[0].host: no certificate of a listener names" in x for x in lines)


def test_another_listener_may_have_the_certificate(tmp_path: Path, authority: trustme.CA) -> None:
    for name in ("a", "b"):
        names = [f"{name}.example.com"]
        write_certificate(
            authority, tmp_path / f"{name}.crt", tmp_path / f"{name}.key", names=names
        )
    routes = "  - {host: a.example.com, pool: idp}\n  - {host: b.example.com, pool: idp}"
    both = "\n  - {name: b, bind: '127.0.0.1:1', tls: {certificates: [{cert: b.crt, key: b.key}]}}"
    text = secure("a", routes)
    assert len(said(text, tmp_path)) == 1
    assert said(text.replace("\npools:", f"{both}\npools:"), tmp_path) == []
    # Which names one holds that cannot be read is not known.
    unread = both.replace("b.crt", "none.crt")
    [line] = said(text.replace("\npools:", f"{unread}\npools:"), tmp_path)
    assert "there is no file" in line


def self_made(folder: Path, began: timedelta, ends: timedelta, san: bool = True) -> None:
    """Write x.crt and x.key. Args: began, ends: as seen from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + began)
        .not_valid_after(now + ends)
    )
    if san:
        names = x509.SubjectAlternativeName([x509.DNSName("idp.example.com")])
        made = made.add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    (folder / "x.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "x.key").write_bytes(key.private_bytes(pem, *private))


@pytest.mark.parametrize(
    ("lived", "left", "warned"),
    [(300, 29, True), (60, 20, True), (20, 10, True), (60, 31, False), (1, 5, False), (5, 1, True)],
)
def test_certificates_that_end_soon_are_warnings(
    lived: int, left: int, warned: bool, tmp_path: Path
) -> None:
    self_made(tmp_path, timedelta(days=-lived), timedelta(days=left, hours=1))
    lines = said(secure("x", "  - {pool: idp, host: idp.example.com}"), tmp_path)
    assert len(lines) == warned
    assert all("certificates[0].cert: ends on 2" in line for line in lines)


def test_a_certificate_without_alternative_names_is_a_warning(tmp_path: Path) -> None:
    self_made(tmp_path, timedelta(days=-1), timedelta(days=300), san=False)
    [line] = said(secure("x", "  - {pool: idp, host: idp.example.com}"), tmp_path)
    assert "certificates[0].cert: holds no alternative name (SAN)" in line


def test_steering_needs_workers_that_stay_on_their_cores() -> None:
    [line] = said(GOOD + "steer_by_core: true\n")
    assert "steer_by_core: has no effect without pin_workers: true" in line
    assert said(GOOD + "steer_by_core: true\npin_workers: true\n") == []
