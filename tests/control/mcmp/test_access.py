"""Who may announce nodes, row by row; what a forged or missing signature does."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from pathlib import Path

import pytest

from lbproxy.cluster.node import Source
from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.access import Access, McmpError, Peer, make_peer
from lbproxy.wire.mcmp import McmpFault, Refused
from lbproxy.wire.mcmp_http import McmpRequest
from lbproxy.wire.mcmp_signature import sign

KEY = b"0123456789abcdef"
NOW = 1_800_000_000.0


def settings(**more: object) -> McmpSettings:
    return McmpSettings.model_validate({"bind": "10.0.0.5:6666", "pool": "idp"} | more)


def peer(address: str) -> Peer:
    return make_peer((address, 4000))


def access(tmp_path: Path | None = None, **more: object) -> Access:
    if tmp_path is not None:
        token = tmp_path / "token"
        token.write_bytes(KEY + b"\n")
        more |= {"agents": {"allow": ["10.2.0.0/16", "127.0.0.0/8"], "token_file": str(token)}}
    return Access(settings(**more), lambda: NOW)


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::7", True),
        ("10.2.2.3", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_peers(address: str, admitted: bool) -> None:
    allowed = access(allow=["10.1.0.0/16", "fd00::/64"])
    assert allowed.admits(peer(address)) is admitted


def test_a_peer_on_a_unix_socket_is_on_this_machine() -> None:
    assert make_peer("").local
    assert make_peer(None).address is None
    assert access().admits(make_peer(""))
    assert not peer("10.0.0.1").local


def test_peers_are_told_of_with_their_port() -> None:
    assert peer("10.0.0.1").text == "10.0.0.1:4000"
    assert peer("::1").text == "[::1]:4000"
    assert peer("::ffff:10.0.0.1").address == ip_address("10.0.0.1")


def signed(key: bytes = KEY, nonce: bytes = b"n" * 16, body: bytes = b"JVMRoute=a") -> McmpRequest:
    header = sign(key, b"STATUS", b"/", b"JVMRoute=a", NOW, nonce)
    return McmpRequest("STATUS", "/", (("authorization", header),), body)


PLAIN = McmpRequest("STATUS", "/", (), b"JVMRoute=a")


def test_agents_sign_and_nodes_do_not(tmp_path: Path) -> None:
    both = access(tmp_path, allow=["10.1.0.0/16"])
    assert both.source(peer("10.1.0.1"), PLAIN) is Source.MCMP
    assert both.source(peer("127.0.0.1"), PLAIN) is Source.MCMP
    assert both.source(peer("10.2.0.1"), signed()) is Source.AGENT
    assert both.source(peer("127.0.0.1"), signed(nonce=b"m" * 16)) is Source.AGENT
    # A signature is no use where agents are not expected, and no harm.
    assert both.source(peer("10.1.0.1"), signed(nonce=b"o" * 16)) is Source.MCMP


@pytest.mark.parametrize(
    "request_", [PLAIN, signed(key=b"another key here"), signed(body=b"JVMRoute=b")]
)
def test_an_agent_without_a_good_signature_is_refused(
    tmp_path: Path, request_: McmpRequest
) -> None:
    with pytest.raises(Refused) as caught:
        access(tmp_path).source(peer("10.2.0.1"), request_)
    assert caught.value.fault is McmpFault.MEM  # the token may be put right
    assert KEY.decode() not in caught.value.message


def test_what_was_recorded_cannot_be_sent_again(tmp_path: Path) -> None:
    both = access(tmp_path)
    request = signed()
    both.source(peer("10.2.0.1"), request)
    with pytest.raises(Refused, match="received before"):
        both.source(peer("10.2.0.1"), request)


def test_two_signatures_are_none(tmp_path: Path) -> None:
    request = signed()
    doubled = McmpRequest("STATUS", "/", request.fields * 2, request.body)
    with pytest.raises(Refused, match="not signed"):
        access(tmp_path).source(peer("10.2.0.1"), doubled)


def test_without_a_token_the_certificate_says_who_and_the_agent_that_it_is_one() -> None:
    certified = access(agents={"allow": ["10.2.0.0/16", "127.0.0.0/8"]})
    agent = McmpRequest("INFO", "/", (("user-agent", b"lbproxy-agent/1.0"),))
    assert certified.source(peer("10.2.0.1"), PLAIN) is Source.AGENT
    assert certified.source(peer("127.0.0.1"), PLAIN) is Source.MCMP
    assert certified.source(peer("127.0.0.1"), agent) is Source.AGENT


@pytest.mark.parametrize("origin", [b"http://rebound.example:6666", b"null", b""])
def test_a_web_page_is_no_node(origin: bytes) -> None:
    """Its name was made to lead here, so its browser takes the listener for the page's own site."""
    for fields in ((("origin", origin),), (("origin", origin),) * 2):
        with pytest.raises(Refused) as caught:
            access().source(peer("127.0.0.1"), McmpRequest("INFO", "/", fields))
        assert caught.value.status == 403


def test_a_token_file_without_a_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("0123456789abcde\n")
    for name in ("empty", "short", "missing"):
        agents = {"allow": ["10.0.0.0/8"], "token_file": str(tmp_path / name)}
        with pytest.raises(McmpError, match="token_file"):
            access(agents=agents)


def test_a_token_that_changes_is_taken_up_and_none_leaves_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lbproxy.mcmp")
    both, token, agent = access(tmp_path), tmp_path / "token", peer("10.2.0.1")
    both.reload_if_changed()
    assert caplog.records == []
    token.write_text("short\n")
    for _ in range(2):
        both.reload_if_changed()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert both.source(agent, signed()) is Source.AGENT
    with pytest.raises(Refused, match="not signed"):
        both.source(agent, PLAIN)
    token.write_text("another key of ours\n")
    both.reload_if_changed()
    assert both.source(agent, signed(key=b"another key of ours")) is Source.AGENT
    with pytest.raises(Refused, match="signature does not fit"):
        both.source(agent, signed(nonce=b"o" * 16))
    assert "another key" not in caplog.text
    assert KEY.decode() not in caplog.text
