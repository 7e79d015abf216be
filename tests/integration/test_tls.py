"""TLS towards clients, with real handshakes."""

from __future__ import annotations

import _ssl
import asyncio
import ctypes
import gc
import os
import socket
import ssl
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from lbproxy.proxy import plane as service
from lbproxy.proxy.downstream.http1 import Http1Connection
from lbproxy.proxy.downstream.tls import DownstreamTls
from tests.integration.house import until

if TYPE_CHECKING:
    from tests.integration.conftest import Door, Message, NodePeer, Peer, Stage

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def write(path: Path, certificate: trustme.LeafCert) -> dict[str, str]:
    """Write a certificate and its key; return how a configuration names them."""
    cert, key = path.with_suffix(".crt"), path.with_suffix(".key")
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    return {"cert": str(cert), "key": str(key)}


def listener(*certificates: dict[str, str], **keys: Any) -> list[Mapping[str, Any]]:
    return [
        {
            "name": "https",
            "bind": "127.0.0.1:0",
            "tls": {"certificates": list(certificates)} | keys,
        }
    ]


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def ask(door: Door, context: ssl.SSLContext, name: str = "localhost") -> Message:
    peer = await door.connect("https", context, name)
    await peer.send(GET)
    return await peer.read_message()


def names(peer: Peer) -> set[str]:
    """Return the names in the certificate that a client was shown."""
    certificate = peer.writer.get_extra_info("peercert")
    return {value for kind, value in certificate["subjectAltName"] if kind == "DNS"}


async def test_the_certificate_is_chosen_by_sni(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    first = write(tmp_path / "first", authority.issue_cert("localhost", "idp.example.com"))
    second = write(tmp_path / "second", authority.issue_cert("login.example.org"))
    third = write(tmp_path / "third", authority.issue_cert("*.example.net"))
    door = await stage.door([await stage.node()], listeners=listener(first, second, third))
    context = trusting(authority)
    for host, expected in {
        "localhost": {"localhost", "idp.example.com"},
        "idp.example.com": {"localhost", "idp.example.com"},
        "login.example.org": {"login.example.org"},
        "a.example.net": {"*.example.net"},
    }.items():
        peer = await door.connect("https", context, host)
        assert names(peer) == expected
    # Nobody's name, or none: the first one.
    context.check_hostname = False
    peer = await door.connect("https", context, "unknown.example")
    assert names(peer) == {"localhost", "idp.example.com"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_modern_versions_are_spoken_and_logged(
    stage: Stage, tmp_path: Path, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    node = await stage.node()
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door([node], listeners=listener(certificate))
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    assert (await ask(door, context)).status == 200
    assert node.requests[0].get("x-forwarded-proto") == b"https"
    assert door.log_lines()[0]["tls"] == version.name.replace("_", ".")


def old_client(authority: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = trusting(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("min_version", "version"),
    [("1.2", ssl.TLSVersion.TLSv1_1), ("1.3", ssl.TLSVersion.TLSv1_2)],
)
async def test_older_versions_than_configured_are_refused(
    stage: Stage,
    tmp_path: Path,
    authority: trustme.CA,
    min_version: str,
    version: ssl.TLSVersion,
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door(
        [await stage.node()], listeners=listener(certificate, min_version=min_version)
    )
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await door.connect("https", old_client(authority, version))
    assert (await ask(door, trusting(authority))).status == 200


async def test_alpn_names_http_1_1_and_never_what_is_not_spoken(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door([await stage.node()], listeners=listener(certificate))
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    peer = await door.connect("https", context)
    assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


def request_blocking(
    port: int,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None,
    name: str = "localhost",
) -> tuple[bool, ssl.SSLSession | None]:
    """Ask once in a thread; return whether the session was taken up, and the session."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as secure,
    ):
        secure.sendall(GET)
        assert secure.recv(65536).startswith(b"HTTP/1.1 200")
        return bool(secure.session_reused), secure.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_are_resumed(
    stage: Stage, tmp_path: Path, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    first = write(tmp_path / "a", authority.issue_cert("other.example"))
    second = write(tmp_path / "b", authority.issue_cert("localhost"))
    door = await stage.door([await stage.node()], listeners=listener(first, second))
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    port = door.service.port("https")
    reused, session = await asyncio.to_thread(request_blocking, port, context, None)
    assert not reused
    reused, _ = await asyncio.to_thread(request_blocking, port, context, session)
    assert reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_not_good_for_the_name_of_another_certificate(
    stage: Stage, tmp_path: Path, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    first = write(tmp_path / "a", authority.issue_cert("other.example"))
    second = write(tmp_path / "b", authority.issue_cert("localhost", "idp.example"))
    door = await stage.door([await stage.node()], listeners=listener(first, second))
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    port = door.service.port("https")
    for made_for, asked, good in (
        ("localhost", "idp.example", True),
        ("localhost", "other.example", False),
        ("other.example", "localhost", False),
    ):
        _, session = await asyncio.to_thread(request_blocking, port, context, None, made_for)
        reused, _ = await asyncio.to_thread(request_blocking, port, context, session, asked)
        assert reused is good, (made_for, asked)


async def test_a_client_hello_may_come_byte_by_byte_where_a_name_decides(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    first = write(tmp_path / "a", authority.issue_cert("other.example"))
    second = write(tmp_path / "b", authority.issue_cert("localhost"))
    door = await stage.door([await stage.node()], listeners=listener(first, second))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    peer = await door.connect("https")  # plain TCP
    for _ in range(10):
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                await peer.send(bytes((byte,)))
            incoming.write(await peer.reader.read(65536))
    assert client.getpeercert()["subjectAltName"] == (("DNS", "localhost"),)  # type: ignore[index]


@pytest.fixture
def quick_reloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CERTIFICATES_EVERY_S", 0.02)


@pytest.mark.usefixtures("quick_reloads")
async def test_a_new_certificate_is_served_without_touching_open_connections(
    stage: Stage, tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lbproxy.tls")
    certificate = write(tmp_path / "a", authority.issue_cert("localhost", "old.example"))
    door = await stage.door([await stage.node()], listeners=listener(certificate))
    context = trusting(authority)
    before = await door.connect("https", context)
    await before.send(GET)
    assert (await before.read_message()).status == 200
    write(tmp_path / "a", authority.issue_cert("localhost", "new.example"))
    await door.until(lambda: "loaded" in caplog.text)
    after = await door.connect("https", context)
    assert "new.example" in names(after)
    await before.send(GET)
    assert (await before.read_message()).status == 200
    assert "old.example" in names(before)


@pytest.mark.usefixtures("quick_reloads")
async def test_a_broken_new_certificate_is_said_once_and_the_old_one_stays(
    stage: Stage, tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost", "old.example"))
    door = await stage.door([await stage.node()], listeners=listener(certificate))
    context = trusting(authority)
    (tmp_path / "a.crt").write_text("not a certificate")
    await door.until(lambda: "not loaded" in caplog.text)
    await asyncio.sleep(0.2)  # ten looks at it
    assert caplog.text.count("not loaded, the old certificate stays") == 1
    peer = await door.connect("https", context)
    assert "old.example" in names(peer)
    caplog.set_level("INFO", "lbproxy.tls")
    write(tmp_path / "a", authority.issue_cert("localhost", "new.example"))
    await door.until(lambda: "a.crt: loaded" in caplog.text)
    assert "new.example" in names(await door.connect("https", context))


async def test_the_end_of_each_certificate_is_a_metric(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door(
        [await stage.node()], listeners=listener(certificate), admin={"bind": "127.0.0.1:0"}
    )
    text = await door.metrics()
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("lbproxy_tls_certificate_expiry_timestamp_seconds{")
    ]
    assert float(line.rsplit(" ", 1)[1]) > 1.7e9


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01", b"\x16"])
async def test_a_handshake_that_never_comes_is_cut_off(
    stage: Stage, tmp_path: Path, authority: trustme.CA, sent: bytes
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door(
        [await stage.node()],
        listeners=listener(certificate),
        timeouts={"tls_handshake": "200ms"},
    )
    peer = await door.connect("https")  # plain TCP
    if sent:
        await peer.send(sent)
    began = asyncio.get_running_loop().time()
    await peer.read_rest()
    assert asyncio.get_running_loop().time() - began < 5
    assert door.stats.rejected == {"tls_handshake": 1}
    assert (await ask(door, trusting(authority))).status == 200


async def test_one_client_cannot_keep_others_out_by_handshakes_that_never_come(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door(
        [await stage.node()], listeners=listener(certificate), limits={"per_client": 3}
    )
    silent = [await door.connect("https") for _ in range(3)]  # plain TCP
    await door.until(lambda: len(door.worker.handshakes) == 3)
    assert await (await door.connect("https")).read_rest() == b""
    assert door.stats.rejected == {"too_many_connections": 1}
    silent[0].close()
    await door.until(lambda: len(door.worker.handshakes) == 2)
    context = trusting(authority)
    peers = [await door.connect("https", context) for _ in range(4)]
    # Who gets through the handshake is told why.
    assert (await peers[3].read_message()).status == 429
    for peer in (*silent, *peers):
        peer.close()
    await door.until(lambda: not door.worker.handshakes and not door.worker.clients)
    assert len(door.worker.shaking) == len(door.worker.per_client) == 0


async def test_a_trusted_proxy_may_begin_more_handshakes_than_one_client(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door(
        [await stage.node()],
        listeners=listener(certificate),
        limits={"per_client": 2},
        forwarding={"trusted_proxies": ["127.0.0.0/8"]},
    )
    for _ in range(4):
        await door.connect("https")
    await door.until(lambda: len(door.worker.handshakes) == 4)
    assert door.stats.rejected == {}


async def test_a_client_of_many_small_records_lets_others_go_first(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    """A turn of the event loop decrypts a bounded number, whatever one read of the socket holds."""
    node = await stage.node()
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door([node], listeners=listener(certificate))
    context = trusting(authority)
    reader, writer, secure, outgoing = await handshake_by_hand(door, context)
    other = await door.connect("https", context)
    pad = b"x" * 20_000
    for byte in (
        b"GET /many HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Pad: " + pad + b"\r\n\r\n"
    ):
        secure.write(bytes((byte,)))
    writer.write(outgoing.read())
    for _ in range(8):  # each takes some turns; the many records take more than a hundred
        await other.send(GET)
        assert (await other.read_message()).status == 200
    assert [request.first for request in node.requests] == [b"GET / HTTP/1.1"] * 8
    async with asyncio.timeout(10):
        assert await reader.read()  # to the end: the whole answer
    assert node.requests[-1].get("x-pad") == pad
    writer.close()


async def handshake_by_hand(
    door: Door, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, ssl.SSLObject, ssl.MemoryBIO]:
    """Return a plain connection and the TLS on it, so that its records can be sent together."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.service.port("https"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
        else:
            writer.write(outgoing.read())
            return reader, writer, secure, outgoing


def ask_for_keys_unread(port: int, ready: threading.Event) -> int:
    """Ask for a large answer, then for new keys again and again, and read nothing.

    Returns: how many key updates could be sent.
    """
    tls = ctypes.CDLL(_ssl.__file__)  # which leads to the OpenSSL that Python uses
    for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(tls, name).restype = ctypes.c_void_p
    pointer = ctypes.c_void_p
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.settimeout(None)
        session = pointer(tls.SSL_new(pointer(tls.SSL_CTX_new(pointer(tls.TLS_client_method())))))
        tls.SSL_set_fd(session, plain.fileno())
        assert tls.SSL_connect(session) == 1
        assert tls.SSL_write(session, GET, len(GET)) == len(GET)
        ready.wait(5)
        sent = 0
        while sent < 5000 and tls.SSL_key_update(session, 1) == tls.SSL_do_handshake(session) == 1:
            sent += 1
        return sent


async def test_answers_to_key_updates_do_not_pile_up(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    async def large(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.answer(b"x" * (32 << 20))

    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door([await stage.node(large)], listeners=listener(certificate))
    ready = threading.Event()
    asking = asyncio.ensure_future(
        asyncio.to_thread(ask_for_keys_unread, door.service.port("https"), ready)
    )
    await door.until(lambda: any(client.write_paused for client in door.worker.clients))
    ready.set()
    await door.until(lambda: not door.worker.clients)
    assert await asking < 5000


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_connections_leave_nothing_to_the_collector(
    stage: Stage, tmp_path: Path, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    """It comes seldom, so what only it can free would pile up."""
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door([await stage.node()], listeners=listener(certificate))
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    port = door.service.port("https")
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            await asyncio.to_thread(request_blocking, port, context, None)
        with socket.create_connection(("127.0.0.1", port), 10) as refused:
            refused.sendall(b"no TLS at all\r\n\r\n")
            await asyncio.to_thread(refused.recv, 1000)
        kinds = (DownstreamTls, Http1Connection)
        await until(lambda: not any(isinstance(each, kinds) for each in gc.get_objects()))
    finally:
        gc.enable()


async def test_plain_http_to_a_tls_port_is_refused(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    node = await stage.node()
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door([node], listeners=listener(certificate))
    peer = await door.connect("https")
    await peer.send(GET)
    assert b"200" not in await peer.read_rest()
    assert node.requests == []


async def test_a_large_body_passes_both_ways_over_tls(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door([await stage.node()], listeners=listener(certificate))
    peer = await door.connect("https", trusting(authority))
    body = os.urandom(3 << 20)
    sending = asyncio.ensure_future(
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    )
    assert (await peer.read_message()).body == body
    await sending


async def test_the_plain_listener_sends_clients_to_the_tls_one(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    node = await stage.node()
    certificate = write(tmp_path / "a", authority.issue_cert("localhost"))
    door = await stage.door(
        [node],
        listeners=[
            *listener(certificate),
            {"name": "http", "bind": "127.0.0.1:0", "redirect_to": "https"},
        ],
    )
    response = await door.get("/realms/x?y=1")
    assert response.status == 308
    port = door.service.port("https")
    assert response.get("location") == b"https://idp.example.com:%d/realms/x?y=1" % port
    assert node.connections == []
