"""The Forwarded field: what proxies in front say of a request, strictly parsed and written.

Source: RFC 7239 section 4. Looser in one point: spaces around `;`, which some proxies send.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Separators in one field, far more than any chain of proxies writes: each costs a few matches.
MAX_SEPARATORS = 256

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"((?:[\t !#-\[\]-~]|\\[\t !-~])*)"'
_PAIR = re.compile(rb"[ \t]*(" + _TOKEN + rb")=(?:(" + _TOKEN + rb")|" + _QUOTED + rb")[ \t]*")
_SEPARATOR = re.compile(rb"[ \t]*([;,])")
_SPACES = re.compile(rb"[ \t]*")
_ESCAPE = re.compile(rb"\\(.)")
_WHOLE_TOKEN = re.compile(_TOKEN)


@dataclass(frozen=True, slots=True)
class Element:
    """What one proxy says. Args: as in the field, unquoted; empty if it says nothing."""

    for_node: bytes = b""
    host: bytes = b""
    proto: bytes = b""


def parse(value: bytes) -> tuple[Element, ...] | None:
    """Return the elements in the order of the field, the nearest proxy's last.

    Args: value: the field value; several fields joined with commas.
    Returns: None if the value does not match the grammar, an element repeats a parameter, or
    there are more than MAX_SEPARATORS: then nothing in it can be told apart from what a client
    made up.
    """
    if value.count(b",") + value.count(b";") > MAX_SEPARATORS:
        return None
    elements: list[Element] = []
    pairs: dict[bytes, bytes] = {}
    at = 0
    while True:
        if pair := _PAIR.match(value, at):
            name = pair[1].lower()
            if name in pairs:
                return None
            pairs[name] = pair[2] or _ESCAPE.sub(rb"\1", pair[3] or b"")
            at = pair.end()
        separator = _SEPARATOR.match(value, at)
        if separator and separator[1] == b";":
            at = separator.end()
            continue
        if pairs:
            elements.append(
                Element(pairs.get(b"for", b""), pairs.get(b"host", b""), pairs.get(b"proto", b""))
            )
            pairs = {}
        if separator:
            at = separator.end()
        elif _SPACES.fullmatch(value, at):
            return tuple(elements)
        else:
            return None


def quoted(value: bytes) -> bytes:
    """Return the value as a token if it is one, else as a quoted string."""
    if _WHOLE_TOKEN.fullmatch(value):
        return value
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def node(address: str) -> bytes:
    """Return an IP address as a node identifier; `unknown` for an empty one."""
    if not address:
        return b"unknown"
    return f'"[{address}]"'.encode() if ":" in address else address.encode()
