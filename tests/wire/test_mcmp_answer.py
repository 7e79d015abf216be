"""Answers, read as the Java node reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.mcmp import McmpFault, Refused
from lbproxy.wire.mcmp_answer import (
    DONE,
    McmpAnswer,
    ping_answer,
    refusal,
    render_answer,
    status_answer,
    stop_answer,
    version_answer,
)
from tests.java_node import is_ok, read_answer, requests_of


def test_what_was_done_is_200_with_an_empty_body() -> None:
    assert render_answer(DONE) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_errors_are_500_with_version_type_and_message() -> None:
    answer = refusal(Refused(McmpFault.MEM, "MEM: no such node"))
    assert render_answer(answer) == (
        b"HTTP/1.1 500 Internal Server Error\r\nVersion: 0.2.1\r\nType: MEM\r\n"
        b"Mess: MEM: no such node\r\nContent-Length: 0\r\n\r\n"
    )


def test_a_connection_that_ends_says_so_in_exactly_one_way() -> None:
    assert b"\r\nConnection: close\r\n" in render_answer(DONE, close=True)


def test_status() -> None:
    answer = read_answer(render_answer(status_answer("kc1", True, 1704164645)))
    assert answer.body == "Type=STATUS-RSP&JVMRoute=kc1&State=OK&id=1704164645\n"
    assert "State=NOTOK&" in status_answer("kc1", False, 1).body


def test_ping() -> None:
    assert ping_answer(None, True, 7).body == "Type=PING-RSP&State=OK&id=7\n"
    assert ping_answer("kc1", True, 7).body == "Type=PING-RSP&JVMRoute=kc1&State=OK&id=7\n"
    assert is_ok(ping_answer("kc1", True, 7).body)
    assert not is_ok(ping_answer("kc1", False, 7).body)


def test_stop_app() -> None:
    body = stop_answer("kc1", ("default-host", "localhost"), ("/auth",), 3).body
    assert body == (
        "Type=STOP-APP-RSP&JvmRoute=kc1&Alias=default-host,localhost&Context=/auth&Requests=3\n"
    )
    assert requests_of(body) == 3


def test_nothing_in_a_name_can_pose_as_a_number_of_requests() -> None:
    body = stop_answer("a", ("x",), ("/a&Requests=0&b=é\n",), 5).body
    assert body.isascii()
    assert body.count("\n") == 1
    assert requests_of(body) == 5


def test_version() -> None:
    assert version_answer("lbproxy/1.0").body == "release: lbproxy/1.0, protocol: 0.2.1\n"


@pytest.mark.parametrize("status", [200, 400, 403, 413, 431, 500, 501, 503])
def test_every_status_has_a_reason(status: int) -> None:
    line = render_answer(McmpAnswer(status)).split(b"\r\n")[0]
    assert line.startswith(b"HTTP/1.1 %d " % status)
    assert len(line) > len("HTTP/1.1 200 ")


@given(st.text(), st.text(max_size=600), st.sampled_from([None, *McmpFault]), st.booleans())
def test_whatever_is_said_a_node_can_read_it(
    body: str, message: str, fault: McmpFault | None, close: bool
) -> None:
    data = render_answer(McmpAnswer(500, body, fault, message), close=close)
    answer = read_answer(data + b"HTTP/1.1 ")
    assert answer.left == b"HTTP/1.1 "
    assert answer.type == (fault.value if fault else None)
    assert len(answer.body) == len(body)
