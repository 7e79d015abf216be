"""What an agent sends is what a node sends; what it is told it reads in every framing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.mcmp import McmpFault, Refused, StatusCommand
from lbproxy.wire.mcmp_answer import DONE, refusal, render_answer, status_answer, stop_answer
from lbproxy.wire.mcmp_client import BadAnswer, McmpReply, ReplyReader, render_command
from lbproxy.wire.mcmp_http import RequestReader
from lbproxy.wire.mcmp_request import read_command


def test_a_command_is_sent_as_nodes_send_it() -> None:
    parameters = [("JVMRoute", "kc1"), ("Alias", "default-host,localhost"), ("Context", "/a b+")]
    assert render_command("ENABLE-APP", parameters, "[2001:db8::1]:6666", prefix="/lb/") == (
        b"ENABLE-APP /lb/ HTTP/1.1\r\nHost: [2001:db8::1]:6666\r\nContent-Length: 69\r\n"
        b"Connection: Keep-Alive\r\n\r\n"
        b"JVMRoute=kc1&Alias=default-host%2Clocalhost&Context=%2Fa+b%2B"
    ).replace(b"69", b"61")


def test_without_parameters_there_is_no_body_and_no_length() -> None:
    assert render_command("INFO", [], "lb:1", fields=[("X-A", "b")]) == (
        b"INFO / HTTP/1.1\r\nHost: lb:1\r\nX-A: b\r\nConnection: Keep-Alive\r\n\r\n"
    )


def test_the_server_reads_what_the_client_sends() -> None:
    reader = RequestReader(1000)
    reader.feed(render_command("STATUS", [("JVMRoute", "n.1"), ("Load", "-1")], "lb:1"))
    request = reader.next()
    assert request is not None
    assert read_command(request.method, request.wildcard, request.body)[0] == StatusCommand(
        "n.1", -1
    )
    reader.feed(render_command("REMOVE-APP", [("JVMRoute", "n.1")], "lb:1", everything=True))
    request = reader.next()
    assert request is not None
    assert request.wildcard


def test_the_client_reads_what_the_server_answers() -> None:
    reader = ReplyReader()
    reader.feed(render_answer(DONE) + render_answer(refusal(Refused(McmpFault.MEM, "MEM: gone"))))
    reader.feed(render_answer(stop_answer("a", ("h",), ("/",), 7), close=True))
    assert reader.next() == McmpReply(200)
    assert reader.next() == McmpReply(500, fault=McmpFault.MEM, message="MEM: gone")
    last = reader.next()
    assert last is not None
    assert last.done
    assert last.value("Requests") == "7"
    assert last.value("Nothing") is None
    assert not last.keep_alive
    assert reader.next() is None


@given(st.integers(min_value=0, max_value=200))
def test_a_cut_anywhere_changes_nothing(cut: int) -> None:
    data = render_answer(status_answer("kc1", True, 5))
    reader = ReplyReader()
    reader.feed(data[:cut])
    early = reader.next()
    reader.feed(data[cut:])
    reply = early or reader.next()
    assert reply is not None
    assert reply.value("State") == "OK"


def test_a_body_may_end_with_the_connection() -> None:
    reader = ReplyReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nState=OK")
    assert reader.next() is None
    reply = reader.next(ended=True)
    assert reply is not None
    assert reply.body == "State=OK"


def test_without_any_length_the_body_is_empty() -> None:
    reader = ReplyReader()
    reader.feed(b"HTTP/1.1 200 \r\n\r\n")
    assert reader.next() == McmpReply(200)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"A" * (16 << 10),
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    reader = ReplyReader()
    reader.feed(data)
    with pytest.raises(BadAnswer):
        reader.next()


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"])
def test_a_connection_that_ends_early(data: bytes) -> None:
    reader = ReplyReader()
    reader.feed(data)
    with pytest.raises(BadAnswer):
        reader.next(ended=True)


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    reader = ReplyReader()
    reader.feed(data)
    try:
        reader.next()
    except BadAnswer:
        return
