"""Values in MCMP messages: forms as Java's URLEncoder writes them, and the rules for values.

Values are refused, not cut: one that is too long with MEM (a limit may change), one that can never
be valid with SYNTAX, which ends the node's interest in us for good. Source: MCMP reference, section
2.2.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

from lbproxy.wire.mcmp import McmpFault, Refused

# Larger than any field of the existing proxies, whose largest is 80.
MAX_VALUE = 255
MAX_CONTEXT = 1024
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# The values are shown on consoles and written to logs. Beyond what the existing proxies forbid
# (angle brackets, quotes, backslash, CR, LF): every other control character, and those that reorder
# or break lines of text.
_FORBIDDEN = re.compile("[<>\"'\\\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_TOKEN = re.compile(r"[!#$%&*+.^_`|~0-9A-Za-z-]+")
# Characters of a cookie's value but the comma: INFO's lines are cut at commas.
_ROUTE = re.compile(r"[!-+\--:<-\[\]-~]+")
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|mi|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "mi": 60.0, "h": 3600.0}
_FLAGS = {"yes": True, "on": True, "true": True, "1": True}
_FLAGS |= {"no": False, "off": False, "false": False, "0": False}


def syntax(message: str) -> NoReturn:
    """Refuse a value that can never become valid."""
    raise Refused(McmpFault.SYNTAX, f"SYNTAX: {message}")


def too_much(message: str) -> NoReturn:
    """Refuse a value beyond a limit."""
    raise Refused(McmpFault.MEM, f"MEM: {message}")


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """Return names and values in their order, decoded. Raises: Refused."""
    if b"%" not in body:  # as in most reports: separators are the same before and after
        pairs = (pair.partition("=") for pair in _decode(body).split("&") if pair)
        return [(name, value) for name, _, value in pairs]
    return [
        (_decode(name), _decode(value))
        for name, _, value in (pair.partition(b"=") for pair in body.split(b"&") if pair)
    ]


def render_form(parameters: list[tuple[str, str]]) -> str:
    """Return a body as a node writes it."""
    return "&".join(f"{name}={_encode(value)}" for name, value in parameters)


def _encode(value: str) -> str:
    return quote(value, safe="*").replace("~", "%7E").replace("%20", "+")


def _decode(raw: bytes) -> str:
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            syntax("a percent sign without two hexadecimal digits")
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    else:
        raw = raw.replace(b"+", b" ")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        syntax("a value is not UTF-8")
    if _FORBIDDEN.search(text):
        syntax("a value holds a character that is not allowed")
    return text


def bounded(name: str, text: str, limit: int = MAX_VALUE) -> str:
    """Return the text, if it is not too long. Raises: Refused."""
    if len(text) > limit:
        too_much(f"{name} is longer than {limit} characters")
    return text


def plain(name: str, text: str) -> str:
    """Return a name that may stand in INFO: without commas. Raises: Refused."""
    if "," in text:
        syntax(f"{name} must not hold a comma")
    return bounded(name, text)


def parse_route(text: str) -> str:
    """Return a JVMRoute. Raises: Refused."""
    if not text:
        syntax("JVMRoute is missing")
    if not _ROUTE.fullmatch(text):
        syntax("JVMRoute holds what no cookie's value may")
    return bounded("JVMRoute", text)


def parse_token(name: str, text: str) -> str:
    """Return the name of a cookie or path parameter. Raises: Refused."""
    if not _TOKEN.fullmatch(text):
        syntax(f"{name} is no name of a cookie or parameter")
    return bounded(name, text)


def parse_flag(name: str, text: str) -> bool:
    """Return True or False for yes or no, on or off, true or false. Raises: Refused."""
    flag = _FLAGS.get(text.lower())
    if flag is None:
        syntax(f"{name} must be yes or no")
    return flag


def parse_count(name: str, text: str) -> int:
    """Return a number that is not negative. Raises: Refused."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        syntax(f"{name} must be a number")
    return int(text)


def parse_signed(name: str, text: str) -> int:
    """Return a number. Raises: Refused."""
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        syntax(f"{name} must be a number")
    return int(text)


def parse_seconds(name: str, text: str) -> float:
    """Return seconds for a number of them, or for one with a unit. Raises: Refused."""
    return _duration(name, text, "s")


def parse_milliseconds(name: str, text: str) -> int:
    """Return milliseconds for a number of them, or for one with a unit. Raises: Refused."""
    return round(_duration(name, text, "ms") * 1000)


def _duration(name: str, text: str, unit: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        syntax(f"{name} must be a time: a number, with ms, s, mi or h after it, or without")
    return int(match[1]) * _UNITS[match[2] or unit]


def parse_flush(name: str, text: str) -> str:
    """Return on, off or auto. Raises: Refused."""
    if text.lower() == "auto":
        return "auto"
    return "on" if parse_flag(name, text) else "off"


def parse_port(name: str, text: str) -> int:
    """Return a port. Raises: Refused: MEM for a number that is none, as of a connector that does
    not listen yet."""
    port = parse_signed(name, text)
    if not 1 <= port <= 65535:
        raise Refused(McmpFault.MEM, f"MEM: {name} must be a number from 1 to 65535")
    return port


def parse_host(name: str, text: str) -> str:
    """Return a name in lower case, or a literal address in its usual spelling.

    Brackets and a zone (`[fe80::1%eth0]`) are taken off; an IPv4-mapped IPv6 address becomes IPv4,
    so that no address has two spellings. Raises: Refused.
    """
    host = text.lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    host = host.partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or address)
    if address is not None:
        return str(address)
    host = host.removesuffix(".")  # complete or not: lbproxy's resolver decides
    # All digits and dots, but no address: a name to some resolvers, an address to others.
    if len(host) > 253 or not _NAME.fullmatch(host) or not re.search("[a-z_-]", host):
        syntax(f"{name} is neither a name nor an address")
    return host


def parse_list(name: str, values: list[str], limit: int) -> tuple[str, ...]:
    """Return the members of comma-separated lists, each once. Raises: Refused."""
    members = (member.strip(" ") for value in values for member in value.split(","))
    return tuple(dict.fromkeys(bounded(name, member, limit) for member in members if member))
