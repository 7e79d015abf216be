"""The body of one request, from the client's bytes to the exchange."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from lbproxy.proxy.downstream.upload import Upload
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.transport.pipe import BREATH, Pipe
from lbproxy.wire.http1_head import CHUNKED
from tests.proxy.exchange.bringing import Brought, assert_ended, bring
from tests.proxy.scripted import NOW, POST, Scene, Transport, turn

CHUNKS = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\nGET /"
CHUNKED_POST = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
PASSES: dict[str, Any] = {"forwarding": {"trailers": "pass"}}
LARGE = 5 << 20


class Loaded:
    """An upload around an exchange that is asked."""

    def __init__(self, talk: Brought, length: int, secure: bool = False) -> None:
        self.talk = talk
        self.pipe = Pipe()
        self.transport = Transport()
        talk.scene.transports.append(self.transport)
        self.pipe.open(self.transport)  # type: ignore[arg-type]
        self.gathering: set[Upload] = set()
        self.breaths: list[None] = []
        self.upload = Upload(
            talk.scene.desk, self.pipe, self.gathering, secure, lambda: self.breaths.append(None)
        )
        self.upload.begin(talk.exchange, length)

    def got(self) -> bytes:
        return b"".join(piece[1] for piece in self.talk.speaker.said if piece[0] == "body")

    def lowat(self) -> int:
        sock = self.transport.get_extra_info("socket")
        return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT))


async def loaded(scene: Scene, data: bytes = POST, length: int = 4) -> Loaded:
    return Loaded(await bring(scene, "asked", data), length)


@pytest.mark.parametrize("sections", [PASSES])
async def test_a_chunked_body_split_at_every_offset(scene: Scene) -> None:
    end = CHUNKS.index(b"GET")
    for at in range(1, len(CHUNKS)):
        load = await loaded(scene, CHUNKED_POST, CHUNKED)
        first, second = CHUNKS[:at], CHUNKS[at:]
        taken = load.upload.hear(first)
        if at < end:
            assert taken == at
            taken = at + load.upload.hear(second)
        assert taken == end
        assert load.got() == b"abcde"
        exchange = load.talk.exchange
        assert (exchange.whole, exchange.request_trailers) == (True, b"X-Sum: 1\r\n")
        assert exchange.bytes_in == 5
        exchange.gone()


async def test_a_body_of_known_length_split_at_every_offset(scene: Scene) -> None:
    for at in range(5):
        load = await loaded(scene)
        assert load.upload.read(b"body next"[:at], 0) == at
        if at < 4:
            assert load.upload.hear(b"body next"[at:]) == 4 - at
        assert (load.got(), load.talk.exchange.whole) == (b"body", True)
        load.talk.exchange.gone()


async def test_trailers_stay_here_unless_they_may_pass(scene: Scene) -> None:
    load = await loaded(scene, CHUNKED_POST, CHUNKED)
    load.upload.hear(CHUNKS)
    assert load.talk.exchange.request_trailers == b""


async def test_a_bad_chunk_ends_it(scene: Scene) -> None:
    load = await loaded(scene, CHUNKED_POST, CHUNKED)
    load.upload.hear(b"2\r\nab\r\n")
    assert load.upload.hear(b"zz\r\n") == 4
    assert load.talk.client.said == [("answer", 400, "bad_body"), ("over",)]
    assert load.talk.speaker.said[-1] == ("abort",)  # it must not look complete there
    assert_ended(scene, load.talk.exchange, answered=False)
    assert scene.reports.heard == []


@pytest.mark.parametrize("sections", [{"limits": {"body": 4}}])
async def test_a_body_that_grows_too_large(scene: Scene) -> None:
    load = await loaded(scene, CHUNKED_POST, CHUNKED)
    load.upload.hear(b"4\r\nabcd\r\n")
    assert load.talk.client.said == []
    load.upload.hear(b"1\r\ne\r\n")
    assert load.talk.client.said == [("answer", 413, "body_too_large"), ("over",)]
    assert load.got() == b"abcd"
    assert_ended(scene, load.talk.exchange, answered=False)


async def test_a_body_too_large_once_the_answer_has_begun_is_cut_off(scene: Scene) -> None:
    load = Loaded(await bring(scene, "answering", CHUNKED_POST), CHUNKED)
    load.upload.hear(b"zz\r\n")
    assert load.talk.client.said == [("cut",)]
    assert_ended(scene, load.talk.exchange, answered=True)


async def test_each_piece_is_progress(scene: Scene) -> None:
    load = await loaded(scene)
    scene.desk.now = NOW + 7.0
    load.upload.hear(b"b")
    assert load.talk.exchange.deadline == NOW + 7.0 + 30.0


async def test_more_framing_than_payload_lets_the_others_have_their_turn(scene: Scene) -> None:
    load = await loaded(scene, CHUNKED_POST, CHUNKED)
    load.upload.hear(b"1\r\na\r\n" * 2000)
    assert (load.pipe.blocked, load.transport.reading) == (BREATH, False)
    await turn()
    assert (load.pipe.blocked, load.transport.reading, len(load.breaths)) == (0, True, 1)


async def test_a_body_that_is_mostly_payload_is_read_on(scene: Scene) -> None:
    load = await loaded(scene, CHUNKED_POST, CHUNKED)
    load.upload.hear(b"2710\r\n" + bytes(10000) + b"\r\n")
    assert load.pipe.blocked == 0


async def test_the_kernel_gathers_a_large_body_but_not_its_end(scene: Scene) -> None:
    load = await loaded(scene, POST, LARGE)
    load.upload.hear(bytes(1000))
    assert load.gathering == {load.upload}
    assert load.lowat() > 1
    load.upload.hear(bytes(1 << 20))
    assert load.gathering == set()
    assert load.lowat() == 1


@pytest.mark.parametrize("secure", [True, False])
async def test_over_tls_and_of_small_bodies_nothing_is_gathered(scene: Scene, secure: bool) -> None:
    talk = await bring(scene, "asked", POST)
    load = Loaded(talk, LARGE if secure else 1 << 20, secure)
    load.upload.hear(bytes(1000))
    assert load.gathering == set()


async def test_a_gathered_body_that_stalls_is_heard_byte_by_byte(scene: Scene) -> None:
    load = await loaded(scene, POST, LARGE)
    load.upload.hear(bytes(1000))
    assert not load.upload.stalls(NOW + scene.desk.tick_s)
    assert load.upload.stalls(NOW + scene.desk.tick_s + 0.01)
    load.upload.stop_gathering()
    assert (load.gathering, load.lowat()) == (set(), 1)
    load.upload.stop_gathering()
    load.upload.hear(bytes(1000))
    assert load.gathering == set()  # once a body is enough


async def test_nothing_is_gathered_on_a_connection_that_ends(scene: Scene) -> None:
    load = await loaded(scene, POST, LARGE)
    load.pipe.close()
    load.upload.hear(bytes(1000))
    assert load.gathering == set()


async def test_one_body_follows_the_other(scene: Scene) -> None:
    load = await loaded(scene)
    load.upload.hear(b"body")
    load.talk.exchange.gone()
    talk = await bring(scene, "asked", POST)
    exchange: Exchange = talk.exchange
    load.upload.begin(exchange, 4)
    load.upload.hear(b"more")
    assert talk.speaker.said == [("body", b"more", True)]
