"""The reference of the configuration, made from the schema: for people and for editors.

`python -m lbproxy.config.reference` brings `docs/configuration.md` and `conf/lbproxy.schema.json`
of a source tree up to date, and the agent's `docs/agent.md` and `conf/agent.schema.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from lbproxy.config.agent import AgentConfig
from lbproxy.config.messages import models_in
from lbproxy.config.messages import sections as sections
from lbproxy.config.model import Model, keys
from lbproxy.config.profiles import NAMES, load_profile
from lbproxy.config.schema import Config
from lbproxy.config.units import Kind, format_duration

BEGIN = "<!-- made from lbproxy/config/schema.py by lbproxy.config.reference: begin -->"
AGENT_BEGIN = "<!-- made from lbproxy/config/agent.py by lbproxy.config.reference: begin -->"
END = "<!-- end -->"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key. Args: default: as YAML holds it; section: the models below the key."""

    key: str
    kind: str
    required: bool
    default: object
    description: str
    section: type[Model] | None


def entries(model: type[Model]) -> Iterator[KeyEntry]:
    """Yield the keys of a section in the schema's order."""
    defaults = model.model_construct().model_dump(mode="json", by_alias=True)
    for key, field in keys(model).items():
        yield KeyEntry(
            key=key,
            kind=_kind(field),
            required=field.is_required(),
            default=defaults.get(key),
            description=" ".join((field.description or "").split()),
            section=next(models_in(field.annotation), None),
        )


def _kind(field: FieldInfo) -> str:
    return _words(field.annotation, field.metadata)


def _words(annotation: object, metadata: Sequence[object] = ()) -> str:
    for item in metadata:
        if isinstance(item, Kind):
            return item.words
        if isinstance(item, FieldInfo):
            metadata = [*metadata, *item.metadata]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(argument) for argument in arguments))
    if origin is Literal:
        return " or ".join("off" if value is False else f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_plural(_words(arguments[0]))}"
    if origin is dict:
        return "sections by name"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return "section"
    if annotation in (int, float):
        return _number(annotation, metadata)
    return {str: "text", bool: "true or false", NoneType: "null"}[annotation]  # type: ignore[index]


def _plural(words: str) -> str:
    if "`" in words:
        return words
    return {"text": "texts"}.get(words, f"{words}s")


def _number(annotation: object, metadata: Sequence[object]) -> str:
    words = "whole number" if annotation is int else "number"
    for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
        for item in metadata:
            bound = getattr(item, name, None)
            if bound is not None:
                words += f" {sign} {bound}"
    return words


class _SectionNames(GenerateJsonSchema):
    """Names each definition after the section and not after its class."""

    def normalize_name(self, name: str) -> str:
        return _section_name(super().normalize_name(name))


def _section_name(name: str) -> str:
    return name.removesuffix("Settings")


def json_schema(root: type[Model] = Config) -> dict[str, object]:
    """Return the JSON Schema by which editors check and complete a file."""
    schema = root.model_json_schema(schema_generator=_SectionNames)
    _drop_titles(schema)
    _text_defaults(schema, root)
    models = {_section_name(model.__name__): model for _, model in sections(root)}
    for name, definition in schema["$defs"].items():
        if name in models:
            _text_defaults(definition, models[name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"lbproxy{' agent' if root is AgentConfig else ''} configuration",
        **schema,
    }


def _text_defaults(schema: dict[str, object], model: type[Model]) -> None:
    """Write the defaults as a file holds them: `5s` and not 5.0."""
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for entry in entries(model):
        if not entry.required:
            properties[entry.key]["default"] = entry.default


def _drop_titles(schema: object) -> None:
    if isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            del schema["title"]
        for value in schema.values():
            _drop_titles(value)
    elif isinstance(schema, list):
        for value in schema:
            _drop_titles(value)


def json_schema_text(root: type[Model] = Config) -> str:
    """Return the JSON Schema as the file that `conf/` holds."""
    return json.dumps(json_schema(root), indent=2, ensure_ascii=False) + "\n"


def markdown() -> str:
    """Return the generated part of `docs/configuration.md`."""
    parts = list(_tables(Config, "##"))
    parts.append("## Profiles\n\nWhat a pool's `profile` sets; the pool's own keys come on top.")
    parts += [_profile(name) for name in NAMES]
    return "\n".join(f"{part}\n" for part in parts)


def agent_markdown() -> str:
    """Return the generated part of `docs/agent.md`."""
    return "\n".join(f"{part}\n" for part in _tables(AgentConfig, "###"))


def _tables(root: type[Model], heading: str) -> Iterator[str]:
    for path, model in sections(root):
        about = " ".join((model.__doc__ or "").split())
        title = f"`{path}`" if path else "The file"
        yield f"{heading} {title}\n\n{about}\n\n{_table(model)}"


def _table(model: type[Model]) -> str:
    lines = ["| key | what | default | |", "|---|---|---|---|"]
    for entry in entries(model):
        default = "required" if entry.required else f"`{in_yaml(entry)}`"
        if entry.section is not None and isinstance(entry.default, dict):
            default = "see below"
        cells = (f"`{entry.key}`", entry.kind, default, entry.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def in_yaml(entry: KeyEntry) -> str:
    """Return the entry's default as a person writes it."""
    if entry.default is False and "off" in entry.kind:
        return "off"
    text = yaml.safe_dump(entry.default, default_flow_style=True)
    return text.removesuffix("\n...\n").strip().replace("'", '"')


def _profile(name: str) -> str:
    profile = load_profile(name)
    limit = profile.node_idle_limit
    nodes = f" Its nodes close idle connections after {format_duration(limit)}." if limit else ""
    defaults = yaml.safe_dump(dict(profile.defaults), sort_keys=False).replace(
        ": false\n", ": off\n"
    )
    hints = "\n".join(f"- {hint}" for hint in profile.doctor_hints)
    return (
        f"### `{name}`: {profile.title}\n\n"
        f"Discovery document: `{profile.discovery}`.{nodes}\n\n"
        f"```yaml\n{defaults}```\n\nOn the nodes:\n\n{hints}"
    )


def updated(text: str, begin: str = BEGIN) -> str:
    """Return a document with its generated part renewed. Args: begin: the line before it."""
    made = markdown() if begin == BEGIN else agent_markdown()
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n\n{made}\n{END}{after}"


def main(root: Path = Path()) -> None:
    """Bring the generated files of the source tree at `root` up to date."""
    for name, begin, model in (
        ("configuration", BEGIN, Config),
        ("agent", AGENT_BEGIN, AgentConfig),
    ):
        document = root / "docs" / f"{name}.md"
        document.write_text(updated(document.read_text("utf-8"), begin), "utf-8")
        schema = "lbproxy" if model is Config else "agent"
        (root / "conf" / f"{schema}.schema.json").write_text(json_schema_text(model), "utf-8")


if __name__ == "__main__":
    main()
