"""Which pool gets a request, which requests get none, and where a redirect leads."""

from __future__ import annotations

from typing import Any

import pytest


def pool(*nodes: Any, **more: Any) -> dict[str, Any]:
    return {
        "health": False,
        "nodes": [{"name": each.name, "url": f"http://127.0.0.1:{each.port}"} for each in nodes],
        **more,
    }


async def ask(door: Any, target: str, host: str = "idp.example.com", method: str = "GET") -> Any:
    client = await door.connect()
    await client.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
    try:
        return await client.read_message(head_request=method == "HEAD")
    finally:
        client.close()


async def test_host_and_path_choose_the_pool(stage: Any) -> None:
    names = ["exact", "suffix", "path", "below", "any"]
    nodes = {name: await stage.node(name=name) for name in names}
    door = await stage.door(
        [],
        pools={name: pool(node) for name, node in nodes.items()},
        routes=[
            {"host": "idp.example.com", "path": "/special", "pool": "path"},
            {"host": "idp.example.com", "path": "/", "pool": "exact"},
            {"host": "idp.example.com", "path": "/never", "pool": "any"},
            {"host": "*.example.com", "path": "/below/", "pool": "below"},
            {"host": "*.example.com", "pool": "suffix"},
            {"path": "/open", "pool": "any"},
        ],
    )
    for host, path, name in [
        ("idp.example.com", "/", b"exact"),
        ("IDP.Example.COM:8443", "/", b"exact"),
        ("idp.example.com.", "/", b"exact"),
        ("idp.example.com", "/special", b"path"),
        ("idp.example.com", "/special/x?y", b"path"),
        ("idp.example.com", "/specially", b"exact"),
        ("idp.example.com", "/never", b"exact"),
        ("a.example.com", "/", b"suffix"),
        ("a.b.example.com", "/special", b"suffix"),
        ("a.example.com", "/below", b"suffix"),
        ("a.example.com", "/below/", b"below"),
        ("a.example.com", "/below/x", b"below"),
        ("example.com", "/open/x", b"any"),
        ("10.0.0.1", "/open", b"any"),
        ("[::1]:80", "/open", b"any"),
    ]:
        assert (await ask(door, path, host)).body == name, (host, path)
    for host, path in [
        ("example.com", "/"),
        ("example.org", "/"),
        ("badexample.com", "/"),
        ("idp.example.com.evil", "/"),
        ("[::1]", "/"),
    ]:
        assert (await ask(door, path, host)).status == 404, (host, path)
    assert door.stats.rejected == {"no_route": 5}


async def test_a_path_whose_readings_lead_to_different_pools_is_refused(stage: Any) -> None:
    nodes = [await stage.node(name=name) for name in ("one", "two")]
    door = await stage.door(
        [],
        pools={"one": pool(nodes[0]), "two": pool(nodes[1])},
        routes=[{"path": "/admin", "pool": "two"}, {"path": "/", "pool": "one"}],
    )
    for path in ("/x/../admin", "/%61dmin", "//admin", "/admin;x/y", "/admin/..", "/x\\..\\admin"):
        assert (await ask(door, path)).status == 400, path
    assert (await ask(door, "/admin/%20x")).body == b"two"
    assert (await ask(door, "/x/%20y//z;p")).body == b"one"
    assert door.stats.rejected == {"doubtful_path": 6}


KEYCLOAK_OPEN = [
    "/realms/demo/protocol/openid-connect/auth?client_id=x",
    "/realms/demo/a%20b",
    "/resources/x.css",
    "/.well-known/x",
    "/robots.txt",
    "/realms/demo/?/admin",
]
KEYCLOAK_HIDDEN = [
    "/",
    "/admin",
    "/admin/",
    "/admin/master/console",
    "/ADMIN/x",
    "/%61dmin/x",
    "/%2561dmin/x",
    "/admin%2Fx",
    "/admin;x/y",
    "/;x/admin",
    "//admin/x",
    "/./admin",
    "/x/../admin",
    "/realms/../admin/",
    "/realms/%2e%2e/admin/",
    "/realms/..%2Fadmin/",
    "/realms/..;/admin/",
    "/realms\\..\\admin",
    "/metrics",
    "/health/ready",
    "/realms/../metrics",
    "/realms/..;x=y/health",
    "/realms",
    "/other",
]
WSO2_OPEN = ["/oauth2/authorize", "/t/one/oauth2/token", "/authenticationendpoint/login.do"]
WSO2_HIDDEN = [
    "/carbon",
    "/carbon/admin/login.jsp",
    "/t/one/carbon/x",
    "/t/one/o/two/console",
    "/o/console",
    "/o/two/api/server/v1",
    "/T/one/Carbon",
    "/t/one/%63arbon",
    "/t/one/x/../carbon",
    "/t/one;x/carbon",
    "/services/x",
]
REFUSED = [
    "/realms/../../etc/passwd",
    "/%zz",
    "/realms/%00",
    "/realms/%0d%0aX",
    "/realms/%c0%ae%c0%ae/admin",
    "/realms/%",
    "/t/one" * 30,
]


@pytest.mark.parametrize(
    ("profile", "open_", "hidden"),
    [
        ("keycloak", KEYCLOAK_OPEN, KEYCLOAK_HIDDEN),
        ("wso2is", WSO2_OPEN, WSO2_HIDDEN),
        (
            "fusionauth",
            ["/oauth2/authorize", "/api/login", "/api/login.json", "/api/statuses.json"],
            [
                *("/admin/x", "/API/status", "/%61pi//status"),
                *("/api/status.json", "/api/health.x", "/api/status%2ejson/", "/admin.a.b;c"),
                *("//x/admin", "//u@x:80/api/health", "/\\\\x/admin", "/%5cx/api/system.x"),
            ],
        ),
    ],
)
async def test_what_a_profile_hides_is_404_however_it_is_spelled(
    stage: Any, profile: str, open_: list[str], hidden: list[str]
) -> None:
    node = await stage.node()
    door = await stage.door([node], pool={"profile": profile})
    for path in open_:
        assert (await ask(door, path)).status == 200, path
        assert node.requests[-1].first == f"GET {path} HTTP/1.1".encode()
    reached = len(node.requests)
    for path in hidden:
        for method in ("GET", "POST"):
            assert (await ask(door, path, method=method)).status == 404, path
    assert len(node.requests) == reached
    assert door.stats.rejected == {"hidden_path": 2 * len(hidden)}


@pytest.mark.parametrize("profile", ["keycloak", "wso2is"])
async def test_doubtful_paths_are_refused(stage: Any, profile: str) -> None:
    node = await stage.node()
    door = await stage.door([node], pool={"profile": profile})
    for path in REFUSED:
        status = (await ask(door, path)).status
        assert status == 400 or (profile == "keycloak" and path.startswith("/t/one")), path
    assert node.requests == []


async def test_a_hidden_path_looks_like_one_that_is_not_there(stage: Any) -> None:
    door = await stage.door(
        [await stage.node()],
        pool={"profile": "fusionauth"},
        routes=[{"host": "idp.example.com", "path": "/", "pool": "idp"}],
    )
    hidden = await door.get("/admin", "X-Request-Id: 1\r\n")
    absent = await ask_with(door, "other", "X-Request-Id: 1\r\n")
    assert hidden.status == absent.status == 404
    assert hidden.body == absent.body


async def ask_with(door: Any, host: str, fields: str) -> Any:
    client = await door.connect()
    await client.send(
        f"GET / HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n".encode()
    )
    return await client.read_message()


async def test_options_asterisk_where_paths_are_hidden(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node], pool={"profile": "fusionauth"})
    assert (await ask(door, "*", method="OPTIONS")).status == 200
    assert node.requests[0].first == b"OPTIONS * HTTP/1.1"
    exposing = await stage.door([node], pool={"profile": "keycloak"})
    assert (await ask(exposing, "*", method="OPTIONS")).status == 404
    assert len(node.requests) == 1


@pytest.mark.parametrize(
    "method",
    [
        "CONFIG",
        "ENABLE-APP",
        "DISABLE-APP",
        "STOP-APP",
        "REMOVE-APP",
        "STATUS",
        "INFO",
        "DUMP",
        "ERROR",
        "PING",
        "ADDID",
        "REMOVEID",
        "VERSION",
        "TRACE",
        "PRI",
    ],
)
@pytest.mark.parametrize("target", ["/", "/cluster", "*"])
async def test_methods_that_are_not_passed_on(stage: Any, method: str, target: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await ask(door, target, method=method)
    assert response.status == 501
    assert response.get("connection") == b"close"
    assert node.requests == []


@pytest.mark.parametrize("target", ["idp.example.com:443", "10.0.0.1:22", "/"])
async def test_connect_is_not_implemented(stage: Any, target: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(
        f"CONNECT {target} HTTP/1.1\r\nHost: {target.strip('/') or 'a'}\r\n\r\n".encode()
        + b"\x16\x03"
    )
    assert (await client.read_message()).status == 501
    assert await client.read_rest() == b""
    assert node.connections == []


async def redirecting(stage: Any, authority: Any) -> Any:
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(stage.directory / "key.pem")
    (stage.directory / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[
            {"name": "http", "bind": "127.0.0.1:0", "redirect_to": "https"},
            {
                "name": "https",
                "bind": "127.0.0.1:0",
                "tls": {"certificates": [{"cert": "cert.pem", "key": "key.pem"}]},
            },
        ],
    )
    return door, node


async def test_a_redirect_keeps_host_path_and_query(stage: Any, authority: Any) -> None:
    door, node = await redirecting(stage, authority)
    port = door.service.port("https")
    for method, target, host, location in [
        (
            "GET",
            "/a/b?c=d&e=%20",
            "idp.example.com",
            f"https://idp.example.com:{port}/a/b?c=d&e=%20",
        ),
        ("POST", "/", "idp.example.com:8080", f"https://idp.example.com:{port}/"),
        ("GET", "//evil.example/%2F..", "a", f"https://a:{port}//evil.example/%2F.."),
        ("GET", "/", "[::1]:80", f"https://[::1]:{port}/"),
        ("HEAD", "/x", "a", f"https://a:{port}/x"),
        ("GET", "http://b/x?y", "a", f"https://b:{port}/x?y"),
    ]:
        response = await ask(door, target, host, method)
        assert response.status == 308
        assert response.get("location") == location.encode()
        assert response.get("connection") is None
    assert node.connections == []
    assert {line["reason"] for line in door.log_lines()} == {"redirect"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example/path", 400),
        ("evil example", 400),
        ("evil@example", 400),
        ("evil\\example", 400),
        ("evil%0d%0aX", 400),
        ('"><script>', 400),
        ("a:0", 400),
        ("a:99999", 400),
        ("a:b", 400),
        ("[::1", 400),
        ("", 400),
        ("x" * 300, 400),
    ],
)
async def test_a_redirect_never_reflects_a_bad_host(
    stage: Any, authority: Any, host: str, status: int
) -> None:
    door, _ = await redirecting(stage, authority)
    response = await ask(door, "/", host)
    assert response.status == status
    assert response.get("location") is None
    assert b"evil" not in response.head + response.body


async def test_a_redirect_without_a_place_to_go_is_404(stage: Any, authority: Any) -> None:
    door, _ = await redirecting(stage, authority)
    assert (await ask(door, "*", method="OPTIONS")).status == 404
    client = await door.connect()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.read_message()).status == 404


async def test_a_body_that_is_redirected_is_not_the_next_request(
    stage: Any, authority: Any
) -> None:
    door, _ = await redirecting(stage, authority)
    client = await door.connect()
    await client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\n"
        b"GET /x HTTP/1.1\r\nHost: evil\r\n\r\n"
    )
    response = await client.read_message()
    assert response.status == 308
    assert response.get("connection") == b"close"
    assert await client.read_rest() == b""
