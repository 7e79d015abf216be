"""Answers to MCMP commands, in the one form that every node can read.

A reason phrase after the code, Content-Length always, ASCII only: without the first a node never
registers, without the second it takes a body for the next answer, without the third it blocks for
20 seconds. Only 200 is success. Source: MCMP reference, sections 2.3, 2.4, 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from lbproxy.wire.mcmp import PROTOCOL, McmpFault, Refused

MAX_MESSAGE = 500  # of Mess, one line in the node's log
_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
# Stays as it is in the value of an answer: paths, names, lists. The rest is percent-encoded.
_LEGIBLE = "/,:*+@[]()!$~"


@dataclass(frozen=True, slots=True)
class McmpAnswer:
    """An answer to a node. Args: fault: of a refusal; message: one line for its log."""

    status: int = 200
    body: str = ""
    fault: McmpFault | None = None
    message: str = ""


DONE = McmpAnswer()


def refusal(refused: Refused) -> McmpAnswer:
    """Return the answer to a command that was not carried out."""
    return McmpAnswer(refused.status, fault=refused.fault, message=refused.message)


def render_answer(answer: McmpAnswer, *, close: bool = False) -> bytes:
    """Return an answer's bytes. Args: close: it says that the connection ends, and the caller ends
    it."""
    lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}"]
    if answer.fault is not None:
        lines += [f"Version: {PROTOCOL}", f"Type: {answer.fault.value}"]
    if answer.message:
        lines.append(f"Mess: {one_line(answer.message)}")
    body = answer.body.encode("ascii", "replace")
    if body:
        lines.append("Content-Type: text/plain")
    lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def one_line(text: str) -> str:
    """Return a text as it may stand in a field: printable ASCII, not too long."""
    return "".join(each if " " <= each <= "~" else "?" for each in text[:MAX_MESSAGE])


def status_answer(route: str, ok: bool, server_id: int) -> McmpAnswer:
    """Answer STATUS. Args: ok: the node can be reached; server_id: fixed for our life."""
    return McmpAnswer(
        body=f"Type=STATUS-RSP&JVMRoute={_value(route)}&State={_state(ok)}&id={server_id}\n"
    )


def ping_answer(route: str | None, ok: bool, server_id: int) -> McmpAnswer:
    """Answer PING. Args: route: None if no node was named."""
    named = "" if route is None else f"JVMRoute={_value(route)}&"
    return McmpAnswer(body=f"Type=PING-RSP&{named}State={_state(ok)}&id={server_id}\n")


def stop_answer(
    route: str, aliases: Sequence[str], contexts: Sequence[str], requests: int
) -> McmpAnswer:
    """Answer STOP-APP. Args: requests: that the node is still working on."""
    names = f"Alias={_value(','.join(aliases))}&Context={_value(','.join(contexts))}"
    return McmpAnswer(
        body=f"Type=STOP-APP-RSP&JvmRoute={_value(route)}&{names}&Requests={requests}\n"
    )


def version_answer(release: str) -> McmpAnswer:
    """Answer VERSION. Args: release: product and version."""
    return McmpAnswer(body=f"release: {release}, protocol: {PROTOCOL}\n")


def _state(ok: bool) -> str:
    return "OK" if ok else "NOTOK"


def _value(text: str) -> str:
    # Nodes look for pairs between `&`, so a value must hold none, and nothing but ASCII.
    return quote(text, safe=_LEGIBLE)
