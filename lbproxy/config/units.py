"""Durations, sizes, addresses and networks: text in the file, plain numbers in the program."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MAX_PORT = 65535


def parse_duration(value: object) -> float:
    """Return seconds for text such as `500ms`, `5s`, `1m`, `1h`; floats pass (they are defaults)."""
    if isinstance(value, float):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _SECONDS[match[2]]
    raise ValueError("not a duration; write a number with a unit: 500ms, 5s, 1m, 1h")


def parse_size(value: object) -> int:
    """Return bytes for text such as `64KiB`, `16MiB`, or for a bare number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2]]
    raise ValueError("not a size; write bytes or a number with a unit: 512, 64KiB, 16MiB")


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on: host and port, or a Unix socket's path.

    Args: host: a literal address, "" where `path` is set; port: 0 lets the kernel choose.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_bind(value: object) -> Bind:
    """Return the address in `host:port`, `[v6]:port` or `unix:/path`."""
    if isinstance(value, Bind):
        return value
    if isinstance(value, str):
        if value.startswith("unix:/"):
            return Bind(path=value.removeprefix("unix:"))
        host, colon, port = value.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""
        if colon and host and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= MAX_PORT:
            return Bind(host=host, port=int(port))
    raise ValueError('not an address to listen on; write "0.0.0.0:8443", "[::]:8443" or "unix:/run/x"')


Network = IPv4Network | IPv6Network


def parse_network(value: object) -> Network:
    """Return the network in `10.0.0.0/8`, `fd00::/8` or a single address."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if isinstance(value, str):
        try:
            return ip_network(value)
        except ValueError as error:
            raise ValueError(f"not a network: {error}") from None
    raise ValueError("not a network; write 10.0.0.0/8, fd00::/8 or one address")


_TEXT = {"type": "string"}
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, _TEXT | {"pattern": f"^{_SIZE.pattern}$"}]}
    ),
]
BindAddress = Annotated[Bind, BeforeValidator(parse_bind), WithJsonSchema(_TEXT)]
IpNetwork = Annotated[Network, BeforeValidator(parse_network), WithJsonSchema(_TEXT)]
