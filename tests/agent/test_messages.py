"""The node as MCMP parameters, and answers as outcomes."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.agent.life import Step, StepOutcome
from lbproxy.agent.messages import messages, outcome_of, requests_in, words_of
from lbproxy.config.agent import AgentNodeSettings, AgentTimeoutsSettings
from lbproxy.wire.mcmp import (
    AnnouncedBalancer,
    AnnouncedNode,
    AppCommand,
    AppVerb,
    ConfigCommand,
    McmpFault,
    StatusCommand,
)
from lbproxy.wire.mcmp_client import McmpReply, ReplyReader, render_command
from lbproxy.wire.mcmp_http import RequestReader
from lbproxy.wire.mcmp_request import read_command


def node(**keys: Any) -> AgentNodeSettings:
    return AgentNodeSettings(**({"route": "kc1", "url": "http://10.0.0.21:8080"} | keys))


def read(step: Step, of: AgentNodeSettings, load: int = 50) -> list[object]:
    """Return the commands that a proxy understands from a step's messages."""
    commands: list[object] = []
    for message in messages(step, of, load):
        reader = RequestReader(64 << 10)
        reader.feed(
            render_command(message.method, message.parameters, "h:1", everything=message.everything)
        )
        request = reader.next()
        assert request is not None
        command, unknown = read_command(request.method, request.wildcard, request.body)
        assert not unknown
        commands.append(command)
    return commands


def test_config_says_the_whole_node() -> None:
    full = node(
        url="https://[fd00::21]:8443",
        domain="east",
        balancer="idp",
        session_cookie="AUTH_SESSION_ID",
        timeouts=AgentTimeoutsSettings(response=30.2, ping=3.0),
    )
    [config] = read(Step.CONFIG, full)
    assert config == ConfigCommand(
        AnnouncedNode(
            route="kc1",
            domain="east",
            host="fd00::21",
            port=8443,
            scheme="https",
            ping_s=3.0,
            timeout_s=31.0,
        ),
        AnnouncedBalancer(name="idp", cookie="AUTH_SESSION_ID", force=False),
    )


def test_what_is_not_configured_is_left_to_the_proxy() -> None:
    [message] = messages(Step.CONFIG, node(), 50)
    names = [name for name, _ in message.parameters]
    assert names[0] == "JVMRoute"
    assert not {"Domain", "Timeout", "ping", "StickySessionCookie"} & set(names)


def test_a_context_is_a_message_of_its_own() -> None:
    """Their answers are added up to the number of requests."""
    of = node(contexts=("/", "/auth"), aliases=("a", "b"))
    for step, verb in (
        (Step.ENABLE, AppVerb.ENABLE),
        (Step.DISABLE, AppVerb.DISABLE),
        (Step.STOP, AppVerb.STOP),
    ):
        assert read(step, of) == [
            AppCommand(verb, "kc1", aliases=("a", "b"), contexts=(context,))
            for context in ("/", "/auth")
        ]


def test_removal_is_of_the_whole_node() -> None:
    assert read(Step.REMOVE, node()) == [AppCommand(AppVerb.REMOVE, "kc1", everything=True)]


@pytest.mark.parametrize("load", [-1, 0, 1, 100])
def test_status(load: int) -> None:
    assert read(Step.STATUS, node(), load) == [StatusCommand("kc1", load)]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (McmpReply(200), StepOutcome.DONE),
        (McmpReply(500, fault=McmpFault.MEM), StepOutcome.UNKNOWN),
        (McmpReply(500), StepOutcome.UNKNOWN),
        (McmpReply(500, fault=McmpFault.SYNTAX), StepOutcome.REFUSED),
        (McmpReply(204), StepOutcome.FAILED),
        (McmpReply(403), StepOutcome.FAILED),
        (McmpReply(501), StepOutcome.FAILED),
        (McmpReply(503), StepOutcome.FAILED),
    ],
)
def test_outcomes(reply: McmpReply, outcome: StepOutcome) -> None:
    assert outcome_of(reply) is outcome


@pytest.mark.parametrize(
    ("body", "requests"),
    [
        ("Type=STOP-APP-RSP&JvmRoute=kc1&Alias=a,b&Context=/&Requests=3\n", 3),
        ("Requests=0", 0),
        ("", 0),
        ("Requests=", 0),
        ("Requests=-1", 0),
        ("Requests=x", 0),
        ("Requests=²", 0),
        ("Requests=99999999999999", 0),
    ],
)
def test_requests_that_are_left(body: str, requests: int) -> None:
    assert requests_in(McmpReply(200, body)) == requests


def test_what_a_proxy_says_is_shown_on_one_short_line() -> None:
    reader = ReplyReader()
    reader.feed(b"HTTP/1.1 500 X\r\nType: SYNTAX\r\nMess: bad\x1b[31m\x07 node\r\n\r\n")
    reply = reader.next()
    assert reply is not None
    assert words_of(reply) == "500 bad?[31m? node"
    assert len(words_of(McmpReply(403, "x" * 5000))) < 300
    assert words_of(McmpReply(503)) == "503"
