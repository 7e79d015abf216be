"""MCMP as a node or an agent speaks it: commands rendered, answers read.

Source: MCMP reference, sections 2.1 to 2.4; RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from lbproxy.wire.mcmp import McmpFault
from lbproxy.wire.mcmp_text import render_form

MAX_HEAD = 16 << 10
MAX_BODY = 16 << 20  # INFO of some ten thousand nodes
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?")


class BadAnswer(Exception):
    """The other side sent no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class McmpReply:
    """An answer as read. Args: fault: of `Type`; message: of `Mess`."""

    status: int
    body: str = ""
    fault: McmpFault | None = None
    message: str = ""
    keep_alive: bool = True

    @property
    def done(self) -> bool:
        """True if the command was carried out."""
        return self.status == 200

    def value(self, name: str) -> str | None:
        """Return the value of a name in a body of `name=value` pairs, such as Requests or State."""
        for pair in self.body.strip().split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                return unquote_plus(value)
        return None


def render_command(
    method: str,
    parameters: Sequence[tuple[str, str]],
    host: str,
    *,
    everything: bool = False,
    prefix: str = "/",
    fields: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return a request as a node sends it.

    Args: host: of the Host field, with port; everything: the form for a whole node (`/*`);
    prefix: of the target, ends in a slash; fields: further ones.
    """
    body, target = render_body(parameters), render_target(everything=everything, prefix=prefix)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in fields]
    lines += ["Connection: Keep-Alive", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def render_body(parameters: Sequence[tuple[str, str]]) -> bytes:
    """Return the body of a command, which a signature covers."""
    return render_form(list(parameters)).encode("ascii")


def render_target(*, everything: bool = False, prefix: str = "/") -> str:
    """Return the target of a command, which a signature covers."""
    return f"{prefix}*" if everything else prefix


class ReplyReader:
    """Reads the answers on one connection, one after the other."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Take in bytes of the connection."""
        self._data += data

    def next(self, *, ended: bool = False) -> McmpReply | None:
        """Return the next answer, None if more bytes are needed.

        Args: ended: the other side closed. Raises: BadAnswer.
        """
        end = self._data.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if ended or len(self._data) >= MAX_HEAD:
                raise BadAnswer("the connection ended" if ended else "the head is too long")
            return None
        first, *lines = bytes(self._data[:end]).decode("latin-1").split("\r\n")
        status = _STATUS.fullmatch(first)
        if status is None:
            raise BadAnswer("it is no HTTP/1 answer")
        fields = _fields(lines)
        close = fields.get("connection", "").lower() == "close"
        length = _length(fields, close)
        rest = len(self._data) - end - 4
        if length is None:  # until the connection ends
            if rest > MAX_BODY:
                raise BadAnswer("the body is too long")
            if not ended:
                return None
            length = rest
        if rest < length:
            if ended:
                raise BadAnswer("the connection ended in the midst of an answer")
            return None
        body = bytes(self._data[end + 4 : end + 4 + length]).decode("latin-1")
        del self._data[: end + 4 + length]
        kind = fields.get("type", "")
        fault = McmpFault(kind) if kind in McmpFault.__members__ else None
        return McmpReply(int(status[1]), body, fault, fields.get("mess", ""), not close)


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise BadAnswer("a field is not valid")
        fields[name.lower()] = value.strip()
    return fields


def _length(fields: dict[str, str], close: bool) -> int | None:
    if "transfer-encoding" in fields:
        raise BadAnswer("a transfer coding is not expected here")
    text = fields.get("content-length")
    if text is None:
        return None if close else 0
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) > MAX_BODY:
        raise BadAnswer("Content-Length is no number, or too large")
    return int(text)
