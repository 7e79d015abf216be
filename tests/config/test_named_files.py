"""Every file that a configuration names is found, in whichever section it stands."""

from __future__ import annotations

from pathlib import Path

import yaml

from lbproxy.config.model import Model
from lbproxy.config.named_files import named_files
from lbproxy.config.read import load_config
from lbproxy.config.reference import entries, sections
from lbproxy.config.schema import Config

ROOT = Path(__file__).resolve().parents[2]


def test_those_of_the_reference_file(folder: Path) -> None:
    """It shows every key; those without a default value are filled in."""
    text = (ROOT / "conf" / "lbproxy.yaml").read_text("utf-8")
    copy = folder / "lbproxy.yaml"
    copy.write_text(text, "utf-8")
    config = load_config(copy).config
    assert config is not None
    found = {Path(each).relative_to(folder).as_posix() for each in named_files(config)}
    assert found == set(_named(yaml.safe_load(text)))


def _named(data: object) -> list[str]:
    """Return what stands at keys of files."""
    if isinstance(data, list):
        return [each for part in data for each in _named(part)]
    if not isinstance(data, dict):
        return []
    own = [value for key, value in data.items() if key in KEYS and isinstance(value, str)]
    return own + [each for value in data.values() for each in _named(value)]


def _file_keys(root: type[Model]) -> set[str]:
    return {
        entry.key for _, model in sections(root) for entry in entries(model) if "file" in entry.kind
    }


KEYS = _file_keys(Config)
