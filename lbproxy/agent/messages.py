"""The node as MCMP messages: those of each step, with their parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lbproxy.agent.life import Step, StepOutcome
from lbproxy.config.addresses import parse_node_url
from lbproxy.config.agent import AgentNodeSettings
from lbproxy.wire.mcmp import McmpFault
from lbproxy.wire.mcmp_client import McmpReply

Parameters = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Args: everything: in the form for the whole node."""

    method: str
    parameters: Parameters
    everything: bool = False


def messages(step: Step, node: AgentNodeSettings, load: int) -> tuple[Message, ...]:
    """Return the messages of a step, in order; at least one.

    Args: load: what STATUS reports, -1 to 100.
    """
    route = ("JVMRoute", node.route)
    match step:
        case Step.CONFIG:
            return (Message(step.value, (route, *_settings(node))),)
        case Step.STATUS:
            return (Message(step.value, (route, ("Load", str(load)))),)
        case Step.REMOVE:
            return (Message(step.value, (route,), everything=True),)
        case Step.ENABLE | Step.DISABLE | Step.STOP:
            # One context each: so the answers to STOP-APP count each of them, with every proxy.
            aliases = ",".join(node.aliases)
            return tuple(
                Message(step.value, (route, ("Alias", aliases), ("Context", context)))
                for context in node.contexts
            )


def _settings(node: AgentNodeSettings) -> Parameters:
    url = parse_node_url(node.url)
    timeouts = node.timeouts
    given = (
        ("Balancer", node.balancer),
        ("Domain", node.domain),
        ("Host", f"[{url.host}]" if ":" in url.host else url.host),
        ("Maxattempts", "1"),
        ("Port", str(url.port)),
        ("StickySessionCookie", node.session_cookie),
        # A node that is gone must not lock out the users who have its cookie.
        ("StickySessionForce", "No"),
        ("Timeout", _seconds(timeouts.response)),
        ("Type", url.scheme),
        ("ping", _seconds(timeouts.ping)),
    )
    return tuple((name, value) for name, value in given if value is not None)


def _seconds(duration: float | None) -> str | None:
    return None if duration is None else str(math.ceil(duration))


def outcome_of(reply: McmpReply) -> StepOutcome:
    """Return what an answer means for the step."""
    if reply.done:
        return StepOutcome.DONE
    if reply.fault is McmpFault.SYNTAX:
        return StepOutcome.REFUSED
    if reply.status == 500:
        return StepOutcome.UNKNOWN
    return StepOutcome.FAILED


def requests_in(reply: McmpReply) -> int:
    """Return how many requests the answer to STOP-APP counts; 0 if it does not say."""
    text = reply.value("Requests") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def words_of(reply: McmpReply) -> str:
    """Return an answer that is not 200 as a log line may hold it: short, no control characters."""
    text = reply.message or reply.body.partition("\n")[0]
    shown = "".join(char if char.isprintable() else "?" for char in text[:200]).strip()
    return f"{reply.status} {shown}".rstrip()
