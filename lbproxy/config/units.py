"""The forms of values: text in the file, plain numbers and absolute paths in the program.

Each `parse_*` raises ValueError with words that say what is allowed. The `Annotated` types at the
end are the schema's field types; dumped as JSON they turn back into the text that a file holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

from lbproxy.config.addresses import (
    PATH,
    Bind,
    Network,
    parse_bind,
    parse_host_pattern,
    parse_network,
    parse_node_url,
    parse_page_url,
    parse_proxy_url,
    parse_server_name,
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

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
    # `expect: 200` without quotes is a number in YAML, and its meaning is clear.
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError('not status codes; write "200", "200,204" or "200-299"')
    parse_codes(value)
    return value


def _node_url_text(value: str) -> str:
    parse_node_url(value)
    return value


def _proxy_url_text(value: str) -> str:
    parse_proxy_url(value)
    return value


def _page_url_text(value: str) -> str:
    parse_page_url(value)
    return value


def parse_path_prefix(value: str) -> str:
    """Return a path that requests can be below: they are looked up in their plainest reading."""
    if "//" in value or not {".", ".."}.isdisjoint(value.split("/")):
        raise ValueError("must hold no empty segment (//) and none of dots alone (. or ..)")
    return value


# Stands for a file whose name is in doubt, in a validation context that has this key.
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
    except OSError as error:  # even if a folder on the way may not be entered
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return str(path)


def _version_text(value: object) -> object:
    # `min_version: 1.2` without quotes is a number in YAML, and its meaning is clear.
    return str(value) if isinstance(value, float) else value


# The patterns by which names are checked, and how to say them to a person.
NAME = r"^[A-Za-z0-9_-]+$"
NODE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
TOKEN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
ROUTE_SUFFIX = r"^[!-+\--:<-\[\]-~]+$"
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
    """The reference's name of a field type."""

    words: str


_TEXT = {"type": "string"}
# `off` is false in YAML 1.1, which is read here, and text in YAML 1.2, which editors read.
OFF_SCHEMA: dict[str, object] = {"enum": [False, "off"]}
MAX_WORKERS = 64


def parse_workers(value: object) -> int | Literal["auto"]:
    """Return a number of processes, or auto."""
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_WORKERS:
        return value
    raise ValueError(f"must be auto, or how many processes serve clients, from 1 to {MAX_WORKERS}")


WorkerCount = Annotated[
    int | Literal["auto"],
    Kind("auto or number"),
    BeforeValidator(parse_workers),
    WithJsonSchema(
        {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}]}
    ),
]
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
