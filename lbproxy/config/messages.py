"""pydantic's errors in plain words that say what is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lbproxy.config.findings import NAME_KEY, Finding, Path, Severity, near, nearest
from lbproxy.config.foreign import advice, section_of, value_advice
from lbproxy.config.model import OFF_TAG, ON_TAG, Model, keys
from lbproxy.config.schema import Config
from lbproxy.config.units import WORDS, format_duration

MAX_PLACES = 3  # of a key, that an error names
_NO_DATA = frozenset({ON_TAG, OFF_TAG, NAME_KEY})


def data_path(loc: tuple[int | str, ...]) -> Path:
    """Return pydantic's location without the parts that are no keys or indices of the file."""
    return tuple(part for part in loc if part not in _NO_DATA)


def models_in(annotation: object) -> Iterator[type[Model]]:
    """Yield the models that a field's annotation may hold, however it is wrapped."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def model_at(path: Path, root: type[Model]) -> type[Model] | None:
    """Return the model of the section at a path of the file, None if there is none.

    Args: root: of the file as a whole.
    """
    return _walk(path, root)[0]


def field_at(path: Path, root: type[Model]) -> FieldInfo | None:
    """Return the field of a section at a path, None for an entry of a list or of named sections."""
    model, inside = _walk(path[:-1], root)
    return keys(model).get(str(path[-1])) if model is not None and not inside else None


def _walk(path: Path, root: type[Model]) -> tuple[type[Model] | None, bool]:
    """Return the model at a path, and whether it is that of each entry there."""
    model: type[Model] | None = root
    inside = False  # in a list or a mapping of names, whose next part is an index or a name
    for part in path:
        if model is None:
            break
        if inside:
            inside = False
            continue
        field = keys(model).get(str(part))
        if field is None:
            return None, False
        model = next(models_in(field.annotation), None)
        inside = is_container(field.annotation)
    return model, inside


def sections(root: type[Model], path: str = "") -> Iterator[tuple[str, type[Model]]]:
    """Yield each section with its path: `pools.NAME.nodes[]`; the whole file's is empty."""
    yield path, root
    for key, field in keys(root).items():
        for model in models_in(field.annotation):
            container = _container(field.annotation)
            suffix = ".NAME" if container is dict else "[]" if container is tuple else ""
            yield from sections(model, f"{path}.{key}{suffix}".removeprefix("."))


def is_container(annotation: object) -> bool:
    """Return True if a field holds a list, or sections by name."""
    return _container(annotation) is not None


def _container(annotation: object) -> type | None:
    origin = get_origin(annotation)
    if origin in (Annotated, Union):
        found = (_container(argument) for argument in get_args(annotation))
        return next((each for each in found if each is not None), None)
    return origin if origin in (tuple, dict) else None


def translated(problem: ValidationError, root: type[Model] = Config) -> list[Finding]:
    """Return pydantic's errors as findings. Args: root: what was validated."""
    faults = causes(problem)
    unknown = [data_path(each["loc"]) for each in faults if each["type"] == "extra_forbidden"]
    # If the file says `uri` for url, url is not missing.
    written = {(*path[:-1], meant(path, root)) for path in unknown}
    return [
        _finding(details, root)
        for details in faults
        if details["type"] != "missing" or data_path(details["loc"]) not in written
    ]


def causes(problem: ValidationError) -> list[ErrorDetails]:
    """Return pydantic's errors without those that only follow from others."""
    errors = problem.errors()
    locations = [details["loc"] for details in errors]
    return [details for details in errors if not _follows(details, locations)]


def meant(path: Path, root: type[Model]) -> str | None:
    """Return the key of the same section that an unknown one stands for, None if it may be any."""
    found = advice(path) if root is Config else None
    if found is None:
        return near(str(path[-1]), _keys(path[:-1], root))
    section, _, key = (found.target or "").rpartition(".")
    return key if found.target and section == section_of(path[:-1]) else None


def _follows(details: ErrorDetails, locations: list[tuple[int | str, ...]]) -> bool:
    """Return whether a list is too short only because its entries are invalid."""
    loc = details["loc"]
    return details["type"] == "too_short" and any(
        len(other) > len(loc) and other[: len(loc)] == loc for other in locations
    )


def _finding(details: ErrorDetails, root: type[Model]) -> Finding:
    path = data_path(details["loc"])
    at_key = details["type"] == "extra_forbidden" or NAME_KEY in details["loc"]
    return Finding(Severity.ERROR, path, _message(details, path, root), at_key)


def _message(details: ErrorDetails, path: Path, root: type[Model]) -> str:
    kind, value = details["type"], details["input"]
    context: Mapping[str, object] = details.get("ctx", {})
    or_off = " or off" if ON_TAG in details["loc"][-2:] else ""
    if kind == "extra_forbidden":
        return _unknown_key(path, root)
    if kind == "missing":
        return f"is missing{_description(path, root)}"
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}{_hint(path, value, str(context['expected']))}"
    if kind == "string_type":
        quotes = "" if value is None or isinstance(value, list | dict) else "; put it in quotes"
        return f"must be text{quotes}"
    if kind == "string_pattern_mismatch":
        return f"must be {WORDS[str(context['pattern'])]}"
    if kind == "too_short":
        return f"must have at least {context['min_length']} entry{_description(path, root)}"
    if kind == "model_type":
        keys = ", ".join(_keys(path, root))
        return f"must be a section{or_off}; its keys: {keys}{_whole(path, value, root)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        bound = context[_BOUNDS[kind][1]]
        if isinstance(value, str) and isinstance(bound, int | float) and _is_duration(value):
            return f"must be {_BOUNDS[kind][0]} {format_duration(bound)}"
        return f"must be {_BOUNDS[kind][0]} {bound}"
    return _TYPES.get(kind) or details["msg"]


_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_TYPES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list; write [a, b], or each entry on a line that begins with -",
    "dict_type": "must be a mapping of names to sections",
}


def _is_duration(value: str) -> bool:
    return value[-1:].isalpha() and not value.endswith("B")


def _quoted(expected: str) -> list[str]:
    """Return the words in `'a', 'b' or 'c'`."""
    return expected.split("'")[1::2]


def _keys(path: Path, root: type[Model]) -> list[str]:
    model = model_at(path, root)
    return list(keys(model)) if model is not None else []


def _unknown_key(path: Path, root: type[Model]) -> str:
    known = _keys(path[:-1], root)
    found = advice(path) if root is Config else None
    hint = f"; {found.text}" if found is not None else nearest(str(path[-1]), known)
    if not hint:
        places = [place for place, model in sections(root) if str(path[-1]) in keys(model)]
        if 0 < len(places) <= MAX_PLACES:
            places = [place or "the file itself" for place in places]
            hint = f" here; it belongs in {' or '.join(places)}"
    return f"unknown key{hint} (allowed here: {', '.join(known)})"


# The key that a plain text in place of a section is likely meant for.
_MAIN_KEY = {
    "access_log": "path",
    "admin": "bind",
    "mcmp": "bind",
    "listeners[]": "bind",
    "pools.NAME.nodes[]": "url",
    "pools.NAME.health": "path",
    "pools.NAME.sticky": "cookie",
    "pools.NAME.discover": "dns",
    "routes[]": "pool",
}


def _whole(path: Path, value: object, root: type[Model]) -> str:
    key = _MAIN_KEY.get(section_of(path)) if root is Config else None
    if not isinstance(value, str) or key is None:
        return ""
    return f"; write {{{key}: ...}}"


def _hint(path: Path, value: object, expected: str) -> str:
    """Return a hint at the likely meaning of a value that is none of those expected."""
    if not isinstance(value, str):
        return ""
    found = value_advice(path, value)
    return f"; {found}" if found is not None else nearest(value, _quoted(expected))


def _description(path: Path, root: type[Model]) -> str:
    model = model_at(path[:-1], root)
    field = keys(model).get(str(path[-1])) if model is not None and path else None
    text = field.description if field is not None else None
    if not text:
        return ""
    first = text[0].lower() if text[1:2].islower() else text[0]
    return f" ({first}{' '.join(text[1:].split()).rstrip('.')})"
