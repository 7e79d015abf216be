"""One probe against real servers: what comes back, and what a failure is called."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from lbproxy.cluster.node import NodeTls
from lbproxy.control.health.client import (
    MAX_BODY,
    Answer,
    ProbeClient,
    ProbeError,
    Target,
    in_turn,
)

if TYPE_CHECKING:
    from tests.control.conftest import Serve, Tls


@pytest.fixture
async def client() -> AsyncIterator[ProbeClient]:
    async with ProbeClient() as made:
        yield made


def at(port: int, scheme: str = "http", **tls: object) -> Target:
    settings = NodeTls(**tls)  # type: ignore[arg-type]
    return Target(scheme, "127.0.0.1", port, "/health?deep=1", settings)


async def reason(client: ProbeClient, target: Target, timeout_s: float = 5.0) -> str:
    with pytest.raises(ProbeError) as caught:
        await client.fetch(target, timeout_s)
    return caught.value.reason


async def test_the_request(client: ProbeClient, serve: Serve) -> None:
    node = await serve(status=460, body=b"search")
    assert await client.fetch(at(node.port), 5.0) == Answer(460, b"search")
    (request,) = node.seen
    assert request.raw_path == "/health?deep=1"
    assert request.version == (1, 1)
    assert request.headers["Host"] == f"127.0.0.1:{node.port}"
    assert request.headers["Connection"] == "close"
    assert "Accept-Encoding" not in request.headers


async def test_the_host_field_is_as_told(client: ProbeClient, serve: Serve) -> None:
    node = await serve()
    await client.fetch(replace(at(node.port), host_field="idp.example.com"), 5.0)
    assert node.seen[0].headers["Host"] == "idp.example.com"


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (Target("http", "a", 80, "/", NodeTls()), "a"),
        (Target("http", "a", 443, "/", NodeTls()), "a:443"),
        (Target("https", "::1", 443, "/", NodeTls()), "[::1]"),
        (Target("https", "::1", 80, "/", NodeTls()), "[::1]:80"),
    ],
)
def test_authority(target: Target, authority: str) -> None:
    assert target.authority == authority


async def test_redirects_are_not_followed(client: ProbeClient, serve: Serve) -> None:
    node = await serve(status=302, headers={"Location": "/other"})
    assert (await client.fetch(at(node.port), 5.0)).status == 302
    assert len(node.seen) == 1


async def test_a_body_is_read_up_to_the_cap(client: ProbeClient, serve: Serve) -> None:
    node = await serve(body=b"x" * (MAX_BODY * 4))
    assert len((await client.fetch(at(node.port), 5.0)).body) == MAX_BODY


async def test_tls_is_verified(client: ProbeClient, serve: Serve, tls: Tls) -> None:
    node = await serve(tls.context("127.0.0.1"))
    assert (await client.fetch(at(node.port, "https", ca=tls.ca), 5.0)).status == 200
    assert (await client.fetch(at(node.port, "https", verify=False), 5.0)).status == 200
    text = await reason(client, at(node.port, "https"))
    assert text.startswith("certificate verify failed: ")
    assert text.endswith("(see tls.ca)")


async def test_the_server_name_is_what_counts(client: ProbeClient, serve: Serve, tls: Tls) -> None:
    node = await serve(tls.context("idp.internal"))
    named = at(node.port, "https", ca=tls.ca, server_name="idp.internal")
    assert (await client.fetch(named, 5.0)).status == 200
    text = await reason(client, at(node.port, "https", ca=tls.ca))
    assert "mismatch" in text
    assert text.endswith("(see tls.server_name)")


async def test_a_nodes_own_certificate_may_be_named_as_its_authority(
    client: ProbeClient, serve: Serve, tls: Tls, tmp_path: Path
) -> None:
    """As for requests: else a node that serves them well is down for its probes."""
    issued = tls.authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "node.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    node = await serve(context)
    pinned = at(node.port, "https", ca=str(tmp_path / "node.pem"))
    assert (await client.fetch(pinned, 5.0)).status == 200


async def test_a_server_that_asks_for_a_certificate_gets_none(
    client: ProbeClient, serve: Serve, tls: Tls
) -> None:
    node = await serve(tls.context("127.0.0.1", ask=ssl.CERT_OPTIONAL))
    assert (await client.fetch(at(node.port, "https", ca=tls.ca), 5.0)).status == 200
    node = await serve(tls.context("127.0.0.1", ask=ssl.CERT_REQUIRED))
    text = await reason(client, at(node.port, "https", ca=tls.ca))
    assert "does it demand client certificates?" in text


async def test_a_ca_file_that_has_changed_is_read_again(
    client: ProbeClient, serve: Serve, tls: Tls, tmp_path: Path
) -> None:
    node = await serve(tls.context("127.0.0.1"))
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    target = at(node.port, "https", ca=str(file))
    assert "certificate" in await reason(client, target)
    tls.authority.cert_pem.write_to_path(file)
    assert (await client.fetch(target, 5.0)).status == 200
    file.write_text("half of one")  # it is being written
    assert (await client.fetch(target, 5.0)).status == 200


async def test_a_ca_file_that_is_none(client: ProbeClient) -> None:
    text = await reason(client, at(1, "https", ca="/nonexistent.pem"))
    assert text == "cannot use tls.ca /nonexistent.pem: No such file or directory"


async def test_the_wrong_scheme_is_named(client: ProbeClient, serve: Serve, tls: Tls) -> None:
    node = await serve(tls.context("127.0.0.1"))
    with pytest.raises(ProbeError) as caught:
        await client.fetch(at(node.port), 5.0)
    assert (caught.value.reason, caught.value.wrong_scheme) == ("answers TLS: use https", True)
    node = await serve()
    with pytest.raises(ProbeError) as caught:
        await client.fetch(at(node.port, "https"), 5.0)
    assert (caught.value.reason, caught.value.wrong_scheme) == ("answers no TLS: use http", True)


async def test_nobody_listens(client: ProbeClient) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert await reason(client, at(bound.getsockname()[1])) == "connection refused"


async def test_a_name_that_does_not_resolve(client: ProbeClient) -> None:
    text = await reason(client, Target("http", "node1.invalid", 80, "/", NodeTls()))
    assert text == "the name node1.invalid does not resolve"


async def test_names_are_not_resolved_here(
    client: ProbeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a probe could find the node where the data plane does not go."""
    asked: list[object] = []
    loop = asyncio.get_running_loop()

    async def getaddrinfo(*args: object, **more: object) -> list[object]:
        asked.append(args)
        return []

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    await reason(client, Target("http", "localhost", 1, "/", NodeTls()))
    assert asked == []


def moved(target: Target, *addresses: str) -> Target:
    return replace(target, host="idp.internal", addresses=addresses)


@pytest.mark.parametrize("how", ["fetch", "ping"])
async def test_the_next_address_where_one_cannot_be_reached(
    client: ProbeClient, serve: Serve, tls: Tls, how: str
) -> None:
    node = await serve(tls.context("idp.internal"))
    target = moved(at(node.port, "https", ca=tls.ca), "127.0.0.9", "127.0.0.1")
    assert (await getattr(client, how)(target, 5.0)).status == 200
    assert node.seen[0].headers["Host"] == f"idp.internal:{node.port}"


@pytest.mark.parametrize("how", ["fetch", "ping"])
async def test_an_address_that_answers_is_the_only_one(
    client: ProbeClient, serve: Serve, how: str
) -> None:
    """A node that is sick at one address is sick: requests go there, too."""

    async def sick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    node = await serve()
    server = await asyncio.start_server(sick, "127.0.0.9", node.port)
    async with server:
        target = moved(at(node.port), "127.0.0.9", "127.0.0.1")
        with pytest.raises(ProbeError) as caught:
            await getattr(client, how)(target, 5.0)
    assert caught.value.reason == "closed the connection without an answer"
    assert node.seen == []


@pytest.mark.parametrize("how", ["fetch", "ping"])
async def test_an_address_that_is_silent_gets_its_share_of_the_time(
    client: ProbeClient, serve: Serve, how: str
) -> None:
    """A full queue of connections that nobody accepts: no refusal, no connection."""
    node = await serve()
    with socket.socket() as full:
        full.bind(("127.0.0.9", node.port))
        full.listen(0)
        clients = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.9", node.port))
            clients.append(filler)
        target = moved(at(node.port), "127.0.0.9", "127.0.0.1")
        try:
            assert (await getattr(client, how)(target, 1.0)).status == 200
        finally:
            for filler in clients:
                filler.close()


async def test_where_there_is_no_address(client: ProbeClient) -> None:
    async def ask(address: str, connect_s: float | None, timeout_s: float) -> None:
        raise AssertionError

    with pytest.raises(ProbeError) as caught:
        await in_turn((), 1.0, ask)
    assert caught.value.reason == "its name leads to no address"


async def test_addresses_share_the_time_and_are_bounded() -> None:
    asked: list[tuple[str, float | None, float]] = []

    async def ask(address: str, connect_s: float | None, timeout_s: float) -> None:
        asked.append((address, connect_s and round(connect_s, 1), round(timeout_s, 1)))
        raise ProbeError(f"not {address}", unreached=True)

    with pytest.raises(ProbeError) as caught:
        await in_turn(tuple("abc"), 3.0, ask)
    assert caught.value.reason == "not c"
    assert asked == [("a", 1.0, 3.0), ("b", 1.5, 3.0), ("c", None, 3.0)]
    asked.clear()
    with pytest.raises(ProbeError):
        await in_turn(tuple(map(str, range(100))), 3.0, ask)
    assert len(asked) == 8


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 9999\r\n\r\n", 501),
        (b"HTTP/1.0 400 \r\n\r\n", 400),
        (b"HTTP/1.1 404\r\n", 404),
    ],
)
async def test_any_answer_to_a_ping_is_good(
    client: ProbeClient, answer: bytes, status: int
) -> None:
    seen: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await reader.read()  # the probe does not wait for the rest
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await client.ping(at(port), 5.0) == Answer(status, b"")
    (request,) = seen
    assert request.startswith(f"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())
    assert b"\r\nUser-Agent: lbproxy/" in request
    assert b"\r\nConnection: close\r\n" in request


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection without an answer"),
        (b"220 mail\r\n\r\n", "the answer is no valid HTTP"),
        (b"HTTP/2 200\r\n", "the answer is no valid HTTP"),
        (b"HTTP/1.1 600 x\r\n", "the answer is no valid HTTP"),
        (b"HTTP/1.1 200", "the answer is no valid HTTP"),
        (b"x" * 20000, "the answer is no valid HTTP"),
    ],
)
async def test_what_is_no_answer_to_a_ping(client: ProbeClient, answer: bytes, text: str) -> None:
    server = await asyncio.start_server(answering(answer), "127.0.0.1", 0)
    async with server:
        with pytest.raises(ProbeError) as caught:
            await client.ping(at(server.sockets[0].getsockname()[1]), 5.0)
    assert caught.value.reason == text


async def test_ping_over_tls_and_at_the_wrong_scheme(
    client: ProbeClient, serve: Serve, tls: Tls, unused_tcp_port: int
) -> None:
    node = await serve(tls.context("127.0.0.1"))
    assert (await client.ping(at(node.port, "https", ca=tls.ca), 5.0)).status == 200
    with pytest.raises(ProbeError) as caught:
        await client.ping(at(node.port), 5.0)
    assert (caught.value.reason, caught.value.wrong_scheme) == ("answers TLS: use https", True)
    with pytest.raises(ProbeError) as caught:
        await client.ping(at(node.port, "https"), 5.0)
    assert "certificate verify failed" in caught.value.reason
    node = await serve()
    with pytest.raises(ProbeError) as caught:
        await client.ping(at(node.port, "https"), 5.0)
    assert (caught.value.reason, caught.value.wrong_scheme) == ("answers no TLS: use http", True)
    with pytest.raises(ProbeError) as caught:
        await client.ping(at(unused_tcp_port), 5.0)
    assert caught.value.reason == "connection refused"


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(answer: bytes) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    return peer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection without an answer"),
        (b"220 mail\r\n\r\n", "the answer is no valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "the answer ended early"),
    ],
)
async def test_broken_answers(client: ProbeClient, answer: bytes, text: str) -> None:
    server = await asyncio.start_server(answering(answer), "127.0.0.1", 0)
    async with server:
        assert await reason(client, at(server.sockets[0].getsockname()[1])) == text


@pytest.mark.parametrize("how", ["fetch", "ping"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_silence_ends_in_time(client: ProbeClient, scheme: str, how: str) -> None:
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        target = at(server.sockets[0].getsockname()[1], scheme, verify=False)
        with pytest.raises(ProbeError) as caught:
            await getattr(client, how)(target, 0.05)
        assert caught.value.reason == "no answer within 0.05 s"
        done.set()
