"""Compiled modules as plain Python: both forms must behave alike."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def as_plain_python(name: str) -> ModuleType:
    """Return a module of lbproxy run from its source, never from its compiled form.

    Args: name: in full; what it imports of other modules is as built.
    """
    package, _, short = name.rpartition(".")
    folder = importlib.import_module(package).__file__
    assert folder is not None
    spec = importlib.util.spec_from_file_location(
        f"plain.{name}", Path(folder).with_name(f"{short}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
