"""What is made from the schema is up to date, and the files in conf/ are good examples."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_load import load_agent_config
from lbproxy.config.model import Model
from lbproxy.config.profiles import NAMES
from lbproxy.config.read import load_config
from lbproxy.config.reference import (
    AGENT_BEGIN,
    BEGIN,
    entries,
    in_yaml,
    json_schema,
    json_schema_text,
    sections,
    updated,
)
from lbproxy.config.schema import Config

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
REMAKE = "run: python -m lbproxy.config.reference"
HEADER = "# yaml-language-server: $schema={}.schema.json\n"
ROOTS: dict[str, type[Model]] = {"lbproxy": Config, "agent": AgentConfig}
SECTIONS = [(name, path) for name, root in ROOTS.items() for path, _ in sections(root)]


@pytest.mark.parametrize(("name", "begin"), [("configuration", BEGIN), ("agent", AGENT_BEGIN)])
def test_the_document_is_up_to_date(name: str, begin: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert text == updated(text, begin), REMAKE


@pytest.mark.parametrize("name", ROOTS)
def test_the_json_schema_is_up_to_date(name: str) -> None:
    made = json_schema_text(ROOTS[name])
    assert (CONF / f"{name}.schema.json").read_text("utf-8") == made, REMAKE


def test_the_json_schema_knows_off_and_units() -> None:
    schema = json_schema()
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    sticky = definitions["Pool"]["properties"]["sticky"]
    # Editors read YAML 1.2, where `off` is no boolean but text.
    assert {"enum": [False, "off"]} in sticky["oneOf"]
    assert {"enum": [False, "off"]} in definitions["Limits"]["properties"]["body"]["anyOf"]
    interval = definitions["Health"]["properties"]["interval"]
    assert interval["type"] == "string"
    assert interval["default"] == "5s"
    assert interval["pattern"].startswith("^")
    assert definitions["Limits"]["properties"]["body"]["default"] == "16MiB"


@pytest.mark.parametrize("root", ROOTS.values())
def test_every_key_is_described(root: type[Model]) -> None:
    for path, model in sections(root):
        for entry in entries(model):
            assert entry.description, f"{path}.{entry.key} has no description"


@pytest.mark.parametrize("file", sorted(path.name for path in CONF.glob("*.yaml")))
def test_the_files_in_conf_are_fine(file: str, folder: Path) -> None:
    copy = folder / file
    text = (CONF / file).read_text("utf-8")
    assert text.startswith(HEADER.format("agent" if file == "agent.yaml" else "lbproxy"))
    copy.write_text(text, "utf-8")
    result = load_agent_config(copy, {}) if file == "agent.yaml" else load_config(copy)
    assert result.problems == ()
    assert result.config is not None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_what_the_files_in_conf_name_can_be_made(tmp_path: Path) -> None:
    """As a reader does it: make the files, check the examples; what is there already stays."""
    script = ["sh", str(CONF / "test-files.sh"), str(tmp_path)]
    subprocess.run(script, check=True, timeout=30)
    key = (tmp_path / "tls" / "idp.key").read_bytes()
    subprocess.run(script, check=True, timeout=30)
    assert (tmp_path / "tls" / "idp.key").read_bytes() == key
    assert (tmp_path / "tls" / "idp.key").stat().st_mode & 0o077 == 0
    for file in sorted(CONF.glob("*.yaml")):
        copy = tmp_path / file.name
        copy.write_text(file.read_text("utf-8"), "utf-8")
        result = load_agent_config(copy, {}) if file.stem == "agent" else load_config(copy)
        assert result.problems == (), file.name


def test_every_provider_has_its_example() -> None:
    for name in set(NAMES) - {"generic"}:
        pools = yaml.safe_load((CONF / f"{name}.yaml").read_text("utf-8"))["pools"]
        assert [pool["profile"] for pool in pools.values()] == [name]


def _values(data: object, path: str) -> list[object]:
    """Return every value at a path such as `pools.NAME.nodes[]`."""
    found = [data]
    for part in filter(None, path.split(".")):
        key, is_list = part.removesuffix("[]"), part.endswith("[]")
        below: list[object] = []
        for value in found:
            if not isinstance(value, dict):
                continue
            if key == "NAME":
                below += value.values()
            elif key in value:
                below += value[key] if is_list else [value[key]]
        found = below
    return found


@pytest.mark.parametrize(("name", "path"), SECTIONS)
def test_the_reference_file_names_every_key_with_its_default(name: str, path: str) -> None:
    text = (CONF / f"{name}.yaml").read_text("utf-8")
    lines = text.splitlines()
    data = yaml.safe_load(text)
    model = dict(sections(ROOTS[name]))[path]
    for entry in entries(model):
        values = _values(data, f"{path}.{entry.key}")
        assert values, f"{path}.{entry.key} is missing"
        own = [line for line in lines if line.lstrip(" -").startswith(f"{entry.key}:")]
        assert any("#" in line for line in own) or entry.section is not None
        if entry.required:
            assert any("required" in line for line in own), f"{path}.{entry.key}: say required"
        elif not isinstance(entry.default, dict):
            said = any(f"default: {in_yaml(entry)}" in line for line in own)
            assert said or entry.default in values, f"{path}.{entry.key}: {in_yaml(entry)}"
