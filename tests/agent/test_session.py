"""One connection to one proxy: kept, renewed, bounded in time, signed, TLS with certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from lbproxy.agent.messages import Message
from lbproxy.agent.session import ProxyAddress, ProxySession, SessionError
from lbproxy.config.agent import AgentTlsSettings
from lbproxy.wire.mcmp_signature import Verifier
from tests.agent.conftest import MEM, Command, Proxy, Stage, credentials

KEY = b"0123456789abcdef"
STATUS = Message("STATUS", (("JVMRoute", "n1"), ("Load", "50")))
REMOVE = Message("REMOVE-APP", (("JVMRoute", "n1"),), everything=True)


def session_to(stage: Stage, proxy: Proxy, **settings: Any) -> ProxySession:
    config = stage.config(None, proxy)
    place = ProxyAddress("http", "127.0.0.1", proxy.port, "127.0.0.1")
    return ProxySession(place, credentials(config, settings.pop("token", None)), 1.0)


async def test_a_connection_is_kept(stage: Stage) -> None:
    proxy = await stage.proxy(states={"n1": "ENABLE-APP"})
    session = session_to(stage, proxy)
    assert (await session.send(STATUS)).value("State") == "OK"
    assert (await session.send(REMOVE)).done
    session.close()
    assert proxy.connections == 1
    assert [each.target for each in proxy.commands] == ["/", "/*"]
    assert proxy.commands[0].fields["Host"] == f"127.0.0.1:{proxy.port}"


async def test_one_that_was_closed_meanwhile_is_renewed(stage: Stage) -> None:
    proxy = await stage.proxy(states={"n1": "ENABLE-APP"})
    session = session_to(stage, proxy)
    await session.send(STATUS)
    proxy.hang_up()
    assert (await session.send(STATUS)).done
    session.close()
    assert proxy.connections == 2


async def test_one_that_breaks_while_it_is_used_is_tried_once_more(stage: Stage) -> None:
    """Between asking whether it is open and writing on it, it may go."""
    proxy = await stage.proxy(states={"n1": "ENABLE-APP"})
    session = session_to(stage, proxy)
    await session.send(STATUS)

    async def hang_up(command: Command) -> None:
        if proxy.connections == 1:
            proxy.hang_up()

    proxy.before = hang_up
    assert (await session.send(STATUS)).done
    session.close()
    assert proxy.connections == 2


async def test_a_new_one_that_breaks_is_an_error(stage: Stage) -> None:
    proxy = await stage.proxy()

    async def hang_up(command: Command) -> None:
        proxy.hang_up()

    proxy.before = hang_up
    with pytest.raises(SessionError, match=r"reset|without an answer"):
        await session_to(stage, proxy).send(STATUS)
    assert proxy.connections == 1


async def test_a_proxy_that_does_not_answer_costs_one_timeout(stage: Stage) -> None:
    proxy = await stage.proxy()

    async def sleep(command: Command) -> None:
        await asyncio.Event().wait()

    proxy.before = sleep
    config = stage.config(None, proxy)
    place = ProxyAddress("http", "127.0.0.1", proxy.port, "127.0.0.1")
    session = ProxySession(place, credentials(config), 0.5)
    with pytest.raises(SessionError, match=r"no answer within 0\.5 s"):
        await session.send(STATUS)
    assert proxy.connections == 1


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_proxy_whose_name_leads_nowhere_any_more_is_found_where_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    loop, proxy, resolves = asyncio.get_running_loop(), await stage.proxy(), True
    original = loop.getaddrinfo

    async def getaddrinfo(host: str, port: int, **more: int) -> object:
        assert host == "lb.internal"
        if resolves:
            return await original("127.0.0.1", port, **more)
        if hangs:
            await asyncio.Event().wait()
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    config = stage.config(None, proxy)
    place = ProxyAddress("http", "lb.internal", proxy.port, "lb.internal")
    session = ProxySession(place, credentials(config), 1.0)
    await session.send(STATUS)
    resolves = False
    session.close()
    await session.send(STATUS)
    assert proxy.connections == 2
    session.close()
    with pytest.raises(SessionError):
        await ProxySession(place, credentials(config), 0.1).send(STATUS)  # it never knew


async def test_nobody_there(stage: Stage) -> None:
    proxy = await stage.proxy()
    await proxy.stop()
    with pytest.raises(SessionError, match="connection refused"):
        await session_to(stage, proxy).send(STATUS)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "it is no HTTP/1 answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "in the midst"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000, "too long"),
    ],
)
async def test_what_is_no_answer(stage: Stage, answer: bytes, why: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = stage.config(None, f"http://127.0.0.1:{port}")
    session = ProxySession(
        ProxyAddress("http", "127.0.0.1", port, "127.0.0.1"), credentials(config), 1.0
    )
    with pytest.raises(SessionError, match=why):
        await session.send(STATUS)
    server.close()


async def test_a_connection_that_shall_be_closed_is_not_used_again(stage: Stage) -> None:
    proxy = await stage.proxy(override=lambda command: (200, "Connection: close\r\n", ""))
    session = session_to(stage, proxy)
    await session.send(STATUS)
    await session.send(STATUS)
    session.close()
    assert proxy.connections == 2


async def test_messages_are_signed_anew_each_time(stage: Stage) -> None:
    proxy = await stage.proxy(states={"n1": "ENABLE-APP"}, verifier=Verifier(KEY))
    session = session_to(stage, proxy, token=KEY)
    for message in (STATUS, STATUS, REMOVE):
        assert (await session.send(message)).done
    session.close()
    assert proxy.refusals == []


async def test_a_replayed_message_is_refused(stage: Stage) -> None:
    """What somebody on the way has recorded and sends again."""
    proxy = await stage.proxy(states={"n1": "ENABLE-APP"}, verifier=Verifier(KEY))
    session = session_to(stage, proxy, token=KEY)
    await session.send(REMOVE)
    session.close()
    proxy.states["n1"] = "ENABLE-APP"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(proxy.recorded[0])
    assert (await reader.readline()).startswith(b"HTTP/1.1 403")
    writer.close()
    assert proxy.refusals == ["it was received before"]
    assert "n1" in proxy.states


@pytest.mark.parametrize(("token", "why"), [(b"another-token-00", "signature"), (None, "signed")])
async def test_a_wrong_token(stage: Stage, token: bytes | None, why: str) -> None:
    proxy = await stage.proxy(verifier=Verifier(KEY))
    session = session_to(stage, proxy, token=token)
    reply = await session.send(STATUS)
    session.close()
    assert reply.status == 403
    assert why in reply.message


async def test_a_token_that_was_put_right_is_taken_up(stage: Stage) -> None:
    proxy = await stage.proxy(states={"n1": "ENABLE-APP"}, verifier=Verifier(KEY))
    keys = [b"old", KEY]
    config = stage.config(None, proxy)
    given = credentials(config)
    given = type(given)(given.tls, lambda: keys.pop(0), time.time, given.nonce)
    session = ProxySession(ProxyAddress("http", "127.0.0.1", proxy.port, "127.0.0.1"), given, 1.0)
    assert (await session.send(STATUS)).status == 403, "and the connection would have been kept"
    assert (await session.send(STATUS)).done
    assert (await session.send(STATUS)).done
    session.close()
    assert proxy.connections == 2


class Certificates:
    """Files of an authority, a proxy and an agent."""

    def __init__(self, authority: trustme.CA, directory: Path) -> None:
        self.ca = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.cert, self.key = directory / "agent.crt", directory / "agent.key"
        issued = authority.issue_cert("agent.internal")
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.key))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("lb.internal").configure_cert(self.server)
        self.server.load_verify_locations(str(self.ca))
        self.server.verify_mode = ssl.CERT_REQUIRED

    def tls(self, **keys: str | None) -> AgentTlsSettings:
        files = {
            "ca": str(self.ca),
            "cert": str(self.cert),
            "key": str(self.key),
            "server_name": "lb.internal",
        }
        return AgentTlsSettings(**(files | keys))


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> Certificates:
    return Certificates(authority, tmp_path)


def tls_session(stage: Stage, proxy: Proxy, tls: AgentTlsSettings) -> ProxySession:
    given = credentials(stage.config(None, proxy))
    given = type(given)(tls, given.token, given.clock, given.nonce)
    return ProxySession(ProxyAddress("https", "127.0.0.1", proxy.port, "127.0.0.1"), given, 2.0)


async def test_client_certificates(stage: Stage, certificates: Certificates) -> None:
    proxy = await stage.proxy(certificates.server, states={"n1": "ENABLE-APP"})
    session = tls_session(stage, proxy, certificates.tls())
    assert (await session.send(STATUS)).done
    assert (await session.send(STATUS)).done
    session.close()
    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"cert": None, "key": None}, "refused the TLS handshake.*tls.cert|closed the connection"),
        ({"server_name": "other.internal"}, "cannot be verified.*tls.server_name"),
        ({"ca": None}, "cannot be verified.*tls.ca"),
    ],
)
async def test_tls_that_does_not_fit(
    stage: Stage, certificates: Certificates, keys: dict[str, str | None], why: str
) -> None:
    proxy = await stage.proxy(certificates.server)
    with pytest.raises(SessionError, match=why):
        await tls_session(stage, proxy, certificates.tls(**keys)).send(STATUS)
    assert proxy.commands == []


async def test_tls_to_a_plain_listener(stage: Stage, certificates: Certificates) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy = Proxy(port=server.sockets[0].getsockname()[1])
    with pytest.raises(SessionError, match="http:// and not https://"):
        await tls_session(stage, proxy, certificates.tls()).send(STATUS)
    server.close()


async def test_a_renewed_certificate_is_taken_up(
    stage: Stage, certificates: Certificates, authority: trustme.CA
) -> None:
    proxy = await stage.proxy(certificates.server, states={"n1": "ENABLE-APP"})
    strange = trustme.CA().issue_cert("agent.internal")
    good_cert, good_key = certificates.cert.read_bytes(), certificates.key.read_bytes()
    certificates.cert.write_bytes(b"".join(b.bytes() for b in strange.cert_chain_pems))
    strange.private_key_pem.write_to_path(str(certificates.key))
    session = tls_session(stage, proxy, certificates.tls())
    with pytest.raises(SessionError):
        await session.send(STATUS)
    certificates.cert.write_bytes(good_cert)
    certificates.key.write_bytes(good_key)
    assert (await session.send(STATUS)).done
    session.close()


async def test_files_that_are_gone(stage: Stage, certificates: Certificates) -> None:
    proxy = await stage.proxy(certificates.server)
    certificates.cert.unlink()
    with pytest.raises(SessionError, match="token or TLS files cannot be used: No such file"):
        await tls_session(stage, proxy, certificates.tls()).send(STATUS)


async def test_mem_is_an_answer(stage: Stage) -> None:
    proxy = await stage.proxy(override=lambda command: MEM)
    session = session_to(stage, proxy)
    assert (await session.send(STATUS)).message == "MEM: what node?"
    session.close()
