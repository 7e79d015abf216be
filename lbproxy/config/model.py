"""The base of every section of a configuration, and the types that sections share."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from lbproxy.config.units import OFF_SCHEMA, SAFE_PATH, TOKEN, parse_path_prefix

Off = Annotated[Literal[False], WithJsonSchema(OFF_SCHEMA)]
Section = TypeVar("Section")
ON_TAG, OFF_TAG = "<on>", "<off>"


def _on_or_off(value: object) -> str:
    return OFF_TAG if value is False else ON_TAG


# The value itself decides, not a trial of both, so that an error is about one of the two only.
OrOff = Annotated[
    Annotated[Section, Tag(ON_TAG)] | Annotated[Off, Tag(OFF_TAG)], Discriminator(_on_or_off)
]

CookieName = Annotated[str, Field(pattern=TOKEN)]
FieldName = Annotated[str, Field(pattern=TOKEN)]
PathPrefix = Annotated[str, Field(pattern=SAFE_PATH), AfterValidator(parse_path_prefix)]
Port = Annotated[int, Field(gt=0, le=65535)]


class Model(BaseModel):
    """The base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def keys(model: type[Model]) -> dict[str, FieldInfo]:
    """Return the fields of a section by their key in the file: `pass` is a keyword of Python."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
