"""What the log and the counters say of commands."""

from __future__ import annotations

import logging

import pytest

from lbproxy.control.mcmp.access import make_peer
from lbproxy.control.mcmp.commands import MAX_SAID, QUIET_S
from tests.control.mcmp.hall import Hall


async def test_every_change_has_its_line_with_the_peer(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lbproxy.mcmp")
    await hall.ready()
    await hall.done("STATUS", "JVMRoute=kc1&Load=60")
    await hall.done("REMOVE-APP", "JVMRoute=kc1", "/*")
    begin = "peer 127.0.0.1:4000 "
    node = "pool idp node kc1: "
    assert caplog.messages == [
        f"{begin}CONFIG: {node}membership absent -> present: mcmp: http://127.0.0.1:8080",
        f"{begin}ENABLE-APP: {node}context absent -> enabled: context /auth",
        f"{begin}STATUS: {node}report awaited -> active: it reports load 50",
        f"{begin}REMOVE-APP: {node}membership present -> absent: it left",
    ]


async def test_a_moved_node_is_a_warning_and_published_at_once(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    await hall.ready()
    caplog.clear()
    await hall.done("CONFIG", "JVMRoute=kc1&Host=127.0.0.1&Port=9&Type=http")
    assert caplog.records[0].levelno == logging.WARNING
    assert "moved from http://127.0.0.1:8080 to http://127.0.0.1:9" in caplog.text
    assert hall.plane.published[-1] is hall.registry.snapshot()


async def test_the_same_refusal_is_told_once_in_a_while(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await hall.say("STATUS", "JVMRoute=x&Load=1")
    assert len(caplog.records) == 1
    hall.now += QUIET_S
    await hall.say("STATUS", "JVMRoute=x&Load=1")
    assert len(caplog.records) == 2
    for number in range(MAX_SAID + 10):
        await hall.say("STATUS", f"JVMRoute=x{number}&Load=1")
    assert len(hall.commands._said) == MAX_SAID


async def test_what_is_no_message_is_counted_and_told_once_in_a_while(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    for port in range(3):
        hall.commands.note_bad("a field is not valid", make_peer(("10.1.2.3", port)))
    assert hall.commands.counts == {("other", "refused"): 3}
    (line,) = caplog.messages
    assert line == "peer 10.1.2.3:0 message: refused: a field is not valid"


async def test_messages_are_counted(hall: Hall) -> None:
    await hall.ready()
    await hall.say("STATUS", "JVMRoute=x")
    await hall.say("STATUS", "Load=1")
    assert hall.commands.counts == {
        ("CONFIG", "ok"): 1,
        ("ENABLE-APP", "ok"): 1,
        ("STATUS", "ok"): 1,
        ("STATUS", "mem"): 1,
        ("STATUS", "syntax"): 1,
    }
