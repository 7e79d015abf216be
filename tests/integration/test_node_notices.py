"""What the log says of failures at nodes: which node, which request, and what happened."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import threaded_node
from tests.integration.ajp_node import AjpPeer, ajp

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.integration.conftest import NodePeer, Stage


def answering(data: bytes) -> Any:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(data)

    return script


CASES = {
    b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n": "upstream_bad_response: Content-Length",
    b"HTTP/1.1 200 OK\r\nA\x00B: c\r\n\r\n": "upstream_bad_response: ",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n": "upstream_bad_response: ",
    b"HTTP/1.1 200 O": "upstream_bad_response: closed the connection within its answer's head",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf": (
        "upstream_truncated: closed the connection within its answer's body"
    ),
    b"": "upstream_reset: closed the connection before any answer",
}


@pytest.mark.parametrize(("data", "text"), CASES.items(), ids=range(len(CASES)))
async def test_why_an_answer_failed_is_said_with_node_and_request(
    stage: Stage, caplog: pytest.LogCaptureFixture, data: bytes, text: str
) -> None:
    node = await stage.node(answering(data))
    door = await stage.door([node], pool={"ejection": False})
    for _ in range(3):
        peer = await door.connect()
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await peer.read_rest()
    said = [record for record in caplog.records if record.name == "lbproxy.node"]
    assert len(said) == 1  # the other two were the same, a moment later
    assert said[0].levelname == "WARNING"
    line = said[0].getMessage()
    assert line.startswith("pool idp node node1: " + text)
    assert door.log_lines()[0]["request_id"] in line


async def test_a_connection_that_fails_is_said_with_its_cause(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    node = await stage.node()
    await node.stop()
    door = await stage.door([node])
    assert (await door.get()).status == 503
    assert "pool idp node node1: connect_refused: " in caplog.text


async def test_a_silent_node_is_said_too(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async def silent(peer: NodePeer) -> None:
        await peer.read_rest()

    door = await stage.door([await stage.node(silent)], timeouts={"response": "50ms"})
    assert (await door.get()).status == 504
    assert "pool idp node node1: upstream_timeout: no answer in time (request " in caplog.text


async def test_over_ajp_too(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async def nonsense(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(b"AB\x00\x01\x63")

    door = await stage.door([await stage.node(ajp(nonsense))], scheme="ajp")
    assert (await door.get()).status == 502
    assert "pool idp node node1: upstream_bad_response: " in caplog.text


async def test_what_a_node_objects_to_in_tls_is_said(
    stage: Stage, tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """Over TLS 1.3 its alert comes when the handshake is done for us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = {"ca": str(tmp_path / "ca.pem")}
    with threaded_node.answering(b"", context) as node:
        door = await stage.door([node], scheme="https", node={"tls": tls})  # type: ignore[list-item]
        assert (await door.get()).status == 502
    assert "certificate required" in caplog.text.lower().replace("_", " ")


async def test_a_kept_connection_that_a_node_ends_is_no_event(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def once(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.answer()

    door = await stage.door([await stage.node(once)])
    peer = await door.connect()
    for _ in range(5):
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await peer.read_message()).status == 200
    assert "upstream_stale" not in caplog.text


async def test_a_route_that_no_node_has_is_said_with_those_that_there_are(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """As by a node whose own name is not its route: no session is ever kept."""
    pool = {"sticky": {"by": ["route"], "cookie": "S"}}
    nodes = [await stage.node(), await stage.node(name="node2")]
    door = await stage.door(nodes, pool=pool)
    for _ in range(3):
        await door.get(fields="Cookie: S=secret.kc1-55321\r\n")
    said = [record.getMessage() for record in caplog.records if record.name == "lbproxy.node"]
    assert said == [
        "pool idp: a session's cookie names route kc1-55321, which no node has "
        "(routes: node1, node2): is the node's own name its route?"
    ]
    assert "secret" not in caplog.text


async def test_what_is_cut_off_at_the_end_is_said(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(peer: NodePeer) -> None:
        await peer.read_rest()

    door = await stage.door([await stage.node(silent)])
    peer = await door.connect()
    path = b"/token;jsessionid=secret" + b"/x" * 200
    await peer.send(b"POST %s?code=secret HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % path)
    await door.until(lambda: door.link("node1").in_flight == 1)
    await door.service.stop()
    await asyncio.sleep(0)
    shown = f"/token;jsessionid=*{'/x' * 200}"[:200]
    assert f"ended; 1 exchange cut off: POST {shown} at node1, 0 s" in caplog.text
    assert "secret" not in caplog.text
