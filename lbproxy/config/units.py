"""What a value may look like: text in the file, plain numbers and absolute paths in the program.

Each `parse_*` raises ValueError with words that say what is allowed. The `Annotated` types at the
end are the schema's field types; dumped as JSON they turn back into the text that a file holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MAX_PORT = 65535


# How other products write units.
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)[ _]?([A-Za-z]+)")
_OTHER_DURATIONS = {
    "ms": "msec msecs millis milliseconds millisecond",
    "s": "sec secs second seconds",
    "m": "min mins minute minutes",
    "h": "hr hrs hour hours",
    "d": "day days",
}
_OTHER_SIZES = {"B": "byte bytes", "KiB": "k kb ki", "MiB": "m mb mi", "GiB": "g gb gi"}


def _meant(value: object, units: Mapping[str, str]) -> str:
    """Return `; did you mean 30s?` for a number with another product's unit, or nothing."""
    match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        for unit, words in units.items():
            if match[2].lower() in (unit.lower(), *words.split()):
                return f"; did you mean {match[1]}{unit}?"
    return ""


def parse_duration(value: object) -> float:
    """Return seconds for text such as `500ms`, `5s`, `1m`; floats pass (they are defaults)."""
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _SECONDS[match[2]]
    hint = _meant(value, _OTHER_DURATIONS)
    if isinstance(value, int | str) and re.fullmatch(r"[1-9][0-9]*", str(value)):
        # Without a unit nginx, Apache and Traefik mean seconds, HAProxy milliseconds.
        hint = f"; did you mean {value}s, or {value}ms?"
    raise ValueError(f"not a duration; write a number with a unit: 500ms, 5s, 1m, 1h{hint}")


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads as `seconds` (to the millisecond)."""
    milliseconds = round(seconds * 1000)
    for unit, factor in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_size(value: object) -> int:
    """Return bytes for text such as `64KiB`, `16MiB`, or for a bare number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2]]
    hint = _meant(value, _OTHER_SIZES)
    raise ValueError(f"not a size; write bytes or a number with a unit: 512, 64KiB, 16MiB{hint}")


_NO_LIMIT = ("unlimited", "none", "infinite", "disabled", "max", "-1")


def parse_size_or_off(value: object) -> int | Literal[False]:
    """Return bytes as `parse_size` does, or False for `off`."""
    if value is False:
        return False
    try:
        return parse_size(value)
    except ValueError as error:
        if isinstance(value, str) and value.lower() in _NO_LIMIT:
            raise ValueError("not a size; write off for no limit") from None
        text, hint, meant = str(error).partition("; did")
        raise ValueError(f"{text}, or off{hint}{meant}") from None


def format_size(size: int) -> str:
    """Return the shortest text that `parse_size` reads as `size` bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on: host and port, or a Unix socket's path.

    Args: host: a literal address or a name, "" where `path` is set; port: 0 lets the kernel choose.
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
        host, _, port = value.rpartition(":")
        literal = host.startswith("[") and host.endswith("]")
        if literal:
            host = host[1:-1]
        known = literal == (":" in host) and _is_host(host.lower())
        if known and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= MAX_PORT:
            return Bind(host=host, port=int(port))
    raise ValueError(
        'not an address to listen on; write "0.0.0.0:8443", "[::]:8443" or "unix:/run/x"'
        f"{_meant_bind(value)}"
    )


def _meant_bind(value: object) -> str:
    """Return `; did you mean ...?` for a port alone or with a star, which elsewhere is enough."""
    match = re.fullmatch(r"(?:\*?:)?([0-9]{1,5})(?: +(?:ssl|tls|http2|quic).*)?", str(value))
    if not match or isinstance(value, bool) or int(match[1]) > MAX_PORT:
        return ""
    return f'; did you mean "0.0.0.0:{match[1]}"?'


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


_CODE_RANGE = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")

_CODE_CLASS = re.compile("[1-5][xX]{2}")


def parse_codes(text: str) -> frozenset[int]:
    """Return the status codes in `200`, `200,204` or `200-299,401`; none for empty text."""
    codes: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _CODE_RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            hint = f"; did you mean {part[0]}00-{part[0]}99?" if _CODE_CLASS.fullmatch(part) else ""
            raise ValueError(
                f'{part!r} is no status code; write "200", "200,204" or "200-299"{hint}'
            )
        codes.update(range(first, last + 1))
    return frozenset(codes)


def _codes_text(value: object) -> str:
    # `expect: 200` without quotes is a number to YAML and clear to everybody.
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError('not status codes; write "200", "200,204" or "200-299"')
    parse_codes(value)
    return value


@dataclass(frozen=True, slots=True)
class NodeUrl:
    """The parts of a node's url.

    Args: scheme: http, https or ajp; host: name or literal address without brackets;
    port: 1..65535.
    """

    scheme: str
    host: str
    port: int


_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\]:[0-9]{1,5}")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ajp": 8009}


def parse_node_url(text: str) -> NodeUrl:
    """Return scheme, host and port of `http://host[:port]`, and so with https and ajp."""
    wanted = 'write "http://10.0.0.11:8080" or "https://idp.internal:8443"'
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"not an address of a node; {wanted}") from None
    if parts.scheme not in _DEFAULT_PORTS or not text.startswith(f"{parts.scheme}://"):
        hint = f'; did you mean "http://{text}"?' if _HOST_AND_PORT.fullmatch(text) else ""
        raise ValueError(f"must begin with http://, https:// or ajp://; {wanted}{hint}")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or a password")
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError("must end after host and port: requests keep the path that they came with")
    host = parts.hostname or ""
    if not _is_host(host) or parts.netloc.endswith(":") or port == 0:
        raise ValueError(f"has no valid host and port; {wanted}")
    if ":" in host:
        # In the one usual spelling: what looks different must not be the same node.
        address = IPv6Address(host)
        host = str(address.ipv4_mapped or address)
    return NodeUrl(parts.scheme, host, _DEFAULT_PORTS[parts.scheme] if port is None else port)


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            IPv6Address(host)
        except ValueError:
            return False
        return True
    if host.replace(".", "").isdecimal():
        # 10.0.0.300 is a slip of the pen and not a name to look up.
        try:
            IPv4Address(host)
        except ValueError:
            return False
        return True
    return len(host) <= 253 and _HOST_NAME.fullmatch(host) is not None


def _node_url_text(value: str) -> str:
    parse_node_url(value)
    return value


def parse_proxy_url(text: str) -> NodeUrl:
    """Return scheme, host and port of a proxy's `mcmp` listener: `http://host:port` or https."""
    wanted = 'write "http://10.0.0.5:6666" or "https://lb.internal:6666"'
    if text.startswith("ajp:"):
        raise ValueError(f"must begin with http:// or https://; {wanted}")
    try:
        url, port = parse_node_url(text), urlsplit(text).port
    except ValueError:
        raise ValueError(f"not the address of a proxy's mcmp listener; {wanted}") from None
    if port is None:
        raise ValueError(f"has no port; {wanted}")
    return url


def _proxy_url_text(value: str) -> str:
    parse_proxy_url(value)
    return value


def parse_page_url(text: str) -> tuple[NodeUrl, str]:
    """Return the place and the path of a page: `http://127.0.0.1:9000/health/ready`."""
    wanted = 'write "http://127.0.0.1:9000/health/ready"'
    head, slash, path = text.partition("://")[2].partition("/")
    if not text.startswith(("http://", "https://")) or not re.fullmatch(PATH, f"{slash}{path}"):
        raise ValueError(f"not the address of a page; {wanted}")
    try:
        return parse_node_url(f"{text.partition('://')[0]}://{head}"), f"/{path}"
    except ValueError:
        raise ValueError(f"not the address of a page; {wanted}") from None


def _page_url_text(value: str) -> str:
    parse_page_url(value)
    return value


def parse_path_prefix(value: str) -> str:
    """Return a path that requests can be under: they are looked up in their plainest reading."""
    if "//" in value or not {".", ".."}.isdisjoint(value.split("/")):
        raise ValueError("must hold no empty segment (//) and none of dots alone (. or ..)")
    return value


def parse_server_name(value: str) -> str:
    """Return the name, or address, that a certificate must hold, in lower case."""
    name = value.lower().removesuffix(".")
    if not _is_host(name):
        raise ValueError("not a host; write a name such as idp.internal, or an address")
    return name


def parse_host_pattern(value: str) -> str:
    """Return a route's host in lower case: `idp.example.com`, `*.example.com` or `[::1]`."""
    host = value.lower().removesuffix(".")
    name = host.removeprefix("*.")
    if not name.isascii():
        raise ValueError("must be ASCII; write an international name in its xn-- form")
    literal = host.startswith("[") and host.endswith("]")
    if literal:
        name = host[1:-1]
    if "*" in name or literal != (":" in name) or not _is_host(name):
        raise ValueError(
            'not a host; write "idp.example.com" or "*.example.com", without a port; '
            "leave it out for any host"
        )
    return host


# What stands for a file whose name is in doubt, in a validation context that has this key.
NO_FILE = "\0"
MAY_BE_NO_FILE = "may_be_no_file"


def parse_file(value: str, info: ValidationInfo) -> str:
    """Return the absolute path of a file that can be read.

    A relative path is relative to the configuration file's directory: the validation context's
    `base`. Without that context the text stays as it is and nothing is read.
    """
    context = cast("dict[str, object] | None", info.context)
    base = context.get("base") if context else None
    if not isinstance(base, Path):
        return value
    if value == NO_FILE and context is not None and MAY_BE_NO_FILE in context:
        return value
    path = base / value
    try:
        if not value or not path.is_file():
            raise ValueError(f"there is no file {path}")
        path.open("rb").close()
    except OSError as error:  # also where a directory on the way may not be entered
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return str(path)


def _version_text(value: object) -> object:
    # `min_version: 1.2` without quotes is a number to YAML and clear to everybody.
    return str(value) if isinstance(value, float) else value


# The patterns by which names are checked, and how to say them to a person.
NAME = r"^[A-Za-z0-9_-]+$"
NODE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
TOKEN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
ROUTE_SUFFIX = r"^[!-+\--:<-\[\]-~]+$"
PATH = r"^/[^?#\s]*$"
SAFE_PATH = r'^/[!"$&-:<->@-\[\]-~]*$'
LOG_PATH = r"^(-|/.*)$"
ABSOLUTE_PATH = r"^/.*[^/]$"
DNS_NAME = r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9.])?$"
DNS_SERVER = r"^([0-9.]+(:[0-9]{1,5})?|[0-9A-Fa-f:]+|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?)$"
CONTEXT = r"^/[A-Za-z0-9._~!$&()*+=:@/-]*$"
METRIC = r"^[A-Za-z_:][A-Za-z0-9_:]*$"
ENVIRONMENT_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
GROUP = r"^([0-9.]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}$"
WORDS = {
    NAME: "letters, digits, _ and -",
    NODE_NAME: "letters, digits, . _ and -, and begin with a letter or a digit",
    TOKEN: "letters, digits and the signs ! # $ % & ' * + - . ^ _ ` | ~",
    ROUTE_SUFFIX: "what a cookie's value may hold: no spaces, commas, semicolons or backslashes",
    PATH: "a path: begin with / and hold no ? # or space",
    SAFE_PATH: "a plain path: begin with / and hold ASCII only, none of ? # % ; \\ or space",
    LOG_PATH: "- (standard output) or an absolute path",
    ABSOLUTE_PATH: "an absolute path",
    DNS_NAME: "a name in DNS, such as keycloak-headless.idp.svc",
    DNS_SERVER: "an address, or an address and a port: 10.0.0.2, 10.0.0.2:53, [fd00::2]:53",
    CONTEXT: "a path of letters, digits and the signs . _ ~ ! $ & ( ) * + = : @ - between slashes",
    METRIC: "the name of a metric: letters, digits, _ and :",
    ENVIRONMENT_NAME: "the name of an environment variable: letters, digits and _",
    GROUP: "a multicast address and a port: 224.0.1.105:23364",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What the reference calls a field type."""

    words: str


_TEXT = {"type": "string"}
# `off` is false in YAML 1.1, which is read here, and text in YAML 1.2, which editors read.
OFF_SCHEMA: dict[str, object] = {"enum": [False, "off"]}
Duration = Annotated[
    float,
    Kind("duration"),
    BeforeValidator(parse_duration),
    Field(ge=0),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
PositiveDuration = Annotated[Duration, Field(gt=0)]
Size = Annotated[
    int,
    Kind("size"),
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, _TEXT | {"pattern": f"^{_SIZE.pattern}$"}]}
    ),
]
PositiveSize = Annotated[Size, Field(gt=0)]


def _format_size_or_off(size: int | Literal[False]) -> str | Literal[False]:
    return False if size is False else format_size(size)


SizeOrOff = Annotated[
    int | Literal[False],
    Kind("size or off"),
    BeforeValidator(parse_size_or_off),
    PlainSerializer(_format_size_or_off, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                _TEXT | {"pattern": f"^{_SIZE.pattern}$"},
                OFF_SCHEMA,
            ]
        }
    ),
]
BindAddress = Annotated[
    Bind,
    Kind("address"),
    BeforeValidator(parse_bind),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(_TEXT),
]
IpNetwork = Annotated[
    Network,
    Kind("network"),
    BeforeValidator(parse_network),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(_TEXT),
]
Codes = Annotated[
    str,
    Kind("status codes"),
    BeforeValidator(_codes_text),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "integer", "minimum": 100, "maximum": 599}]}),
]
NodeUrlText = Annotated[
    str,
    Kind("url"),
    AfterValidator(_node_url_text),
    WithJsonSchema(_TEXT | {"pattern": "^(https?|ajp)://"}),
]
ProxyUrlText = Annotated[
    str,
    Kind("url"),
    AfterValidator(_proxy_url_text),
    WithJsonSchema(_TEXT | {"pattern": "^https?://"}),
]
PageUrlText = Annotated[
    str,
    Kind("url"),
    AfterValidator(_page_url_text),
    WithJsonSchema(_TEXT | {"pattern": "^https?://"}),
]
HostPattern = Annotated[str, Kind("host"), AfterValidator(parse_host_pattern)]
ServerName = Annotated[str, Kind("host"), AfterValidator(parse_server_name)]
FilePath = Annotated[str, Kind("file"), AfterValidator(parse_file)]
TlsVersion = Annotated[
    Literal["1.2", "1.3"],
    BeforeValidator(_version_text),
    WithJsonSchema({"enum": ["1.2", "1.3", 1.2, 1.3]}),
]
