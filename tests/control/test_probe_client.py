"""One probe against real servers: what comes back, and what a failure is called."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lbproxy.cluster.node import NodeTls
from lbproxy.control.probe_client import MAX_BODY, Answer, ProbeClient, ProbeError, Target

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


async def test_a_server_that_asks_for_a_certificate_gets_none(
    client: ProbeClient, serve: Serve, tls: Tls
) -> None:
    node = await serve(tls.context("127.0.0.1", ask=ssl.CERT_OPTIONAL))
    assert (await client.fetch(at(node.port, "https", ca=tls.ca), 5.0)).status == 200
    node = await serve(tls.context("127.0.0.1", ask=ssl.CERT_REQUIRED))
    text = await reason(client, at(node.port, "https", ca=tls.ca))
    assert "does it demand client certificates?" in text


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


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_silence_ends_in_time(client: ProbeClient, scheme: str) -> None:
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        target = at(server.sockets[0].getsockname()[1], scheme, verify=False)
        assert await reason(client, target, 0.05) == "no answer within 0.05 s"
        done.set()
