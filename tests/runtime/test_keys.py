from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from yaml import safe_dump

from lbproxy.config.read import parse_config
from lbproxy.config.schema import Config
from lbproxy.runtime.keys import KEY_BYTES, affinity_keys


def configured(directory: Path, sticky: Any) -> Config:
    config = {
        "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
        "pools": {"idp": {"sticky": sticky, "nodes": [{"name": "a", "url": "http://a"}]}},
        "routes": [{"pool": "idp"}],
    }
    result = parse_config(safe_dump(config), "test.yaml", directory)
    assert result.config is not None, result.problems
    return result.config


def test_a_key_comes_from_its_file_so_that_it_outlives_the_process(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a long random text of an operator\n")
    sticky = {"by": ["own_cookie"], "own_cookie": {"key_file": "key"}}
    for _ in range(2):
        keys = affinity_keys(configured(tmp_path, sticky))
        assert keys == {"idp": b"a long random text of an operator"}


def test_without_a_file_the_key_is_new_and_long(tmp_path: Path) -> None:
    config = configured(tmp_path, {"by": ["own_cookie"]})
    first, second = affinity_keys(config), affinity_keys(config)
    assert len(first["idp"]) == KEY_BYTES >= 32
    assert first != second


def test_a_pool_without_a_cookie_of_its_own_has_no_key(tmp_path: Path) -> None:
    assert affinity_keys(configured(tmp_path, False)) == {}
    assert affinity_keys(configured(tmp_path, {"by": ["route"], "cookie": "S"})) == {}


def test_a_file_that_has_gone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a long random text of an operator\n")
    sticky = {"by": ["own_cookie"], "own_cookie": {"key_file": "key"}}
    config = configured(tmp_path, sticky)
    (tmp_path / "key").unlink()
    with pytest.raises(OSError, match="key"):
        affinity_keys(config)


def test_a_pool_keeps_the_key_that_was_made_for_it(tmp_path: Path) -> None:
    config = configured(tmp_path, {"by": ["own_cookie"]})
    before = affinity_keys(config)
    assert affinity_keys(config, before) == before
    assert affinity_keys(configured(tmp_path, {"by": ["hash"], "cookie": "S"}), before) == {}
