"""`make build`: what is out of date, and how far it is."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAID = """\
Compiling a/x.py because it changed.
[1/2] Cythonizing a/x.py
[2/2] Cythonizing a/y.py
running build_ext
building 'a.x' extension
gcc -c x.c
building 'a.y' extension
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile_script", ROOT / ".ci" / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_way_of_a_build(script: ModuleType) -> None:
    assert [*script.steps(SAID.splitlines(), 5)] == [
        *("translated 1 of 2", "translated 2 of 2"),
        *("compiled 0 of 2", "compiled 1 of 2"),
    ]


def test_what_is_out_of_date(script: ModuleType, tmp_path: Path) -> None:
    for name, age in (("fresh", 10), ("old", -10), ("new", None)):
        for ending in (".py", ".pxd"):
            (tmp_path / f"{name}{ending}").write_text("")
        if age is not None:
            extension = tmp_path / f"{name}{script.SUFFIX}"
            extension.write_text("")
            then = (tmp_path / f"{name}.py").stat().st_mtime + age
            os.utime(extension, (then, then))
    declarations = [tmp_path / f"{name}.pxd" for name in ("fresh", "old", "new")]
    assert [path.stem for path in script.outdated(declarations)] == ["old", "new"]
