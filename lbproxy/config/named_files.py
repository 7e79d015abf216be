"""Which files a configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import get_args

from lbproxy.config.model import Model
from lbproxy.config.units import FilePath, Kind

(_FILE,) = (each for each in get_args(FilePath) if isinstance(each, Kind))


def named_files(section: Model) -> Iterator[str]:
    """Yield each file that a section, or one below it, names for lbproxy to read."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, str):
            if _holds_files(type(section), name):
                yield value
        elif field.annotation is not None:
            yield from _below(value)


def _below(value: object) -> Iterator[str]:
    if isinstance(value, Model):
        yield from named_files(value)
    elif isinstance(value, tuple):
        for each in value:
            yield from _below(each)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _below(each)


@cache
def _holds_files(section: type[Model], name: str) -> bool:
    field = section.model_fields[name]
    return _FILE in field.metadata or _mentions(field.annotation)


def _mentions(annotation: object) -> bool:
    return any(each == _FILE or _mentions(each) for each in get_args(annotation))
