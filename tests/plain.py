"""Compiled modules as plain Python: both forms must behave alike.

A module that stands alone is run from its source beside the built ones (`as_plain_python`).
Compiled classes that inherit from each other, or are declared as each other's attributes, cannot be
mixed with plain ones, so there a process runs with every module from its source (`only_plain`).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
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


class _Sources(MetaPathFinder):
    """Finds the source of each module of lbproxy, although its compiled form lies beside it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith("lbproxy."):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None or spec.origin.endswith(".py"):
            return spec
        source = Path(spec.origin).with_name(f"{name.rpartition('.')[2]}.py")
        return importlib.util.spec_from_file_location(name, source)


def only_plain() -> None:
    """From here on this process runs lbproxy from its sources; none of it is imported yet."""
    assert not compiled()
    sys.meta_path.insert(0, _Sources())


def compiled() -> list[str]:
    """Return the compiled modules of lbproxy that this process has imported."""
    return [
        name
        for name, module in [*sys.modules.items()]
        if name.startswith("lbproxy.") and not (module.__file__ or ".py").endswith(".py")
    ]
