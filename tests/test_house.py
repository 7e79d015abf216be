"""The house stays in order: who imports whom, what is compiled, how large a file may get.

Each test names the rule in its failure; the rules themselves are in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lbproxy import cli
from lbproxy.config.agent import AgentConfig
from lbproxy.config.messages import sections
from lbproxy.config.schema import Config
from lbproxy.config.sources import ConfiguredNode

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 500
MAX_FUNCTION_LINES = 80
AUTOMATA = ("feed", "_next")  # of `wire`: a table would only hide their order

# A file longer than that needs its reason here; the entry goes when the file shrinks.
LONG_FILES: dict[str, str] = {}

# A class name that two modules may share, with the reason; the entry goes when one is renamed.
SHARED_NAMES: dict[str, str] = {}

# What the C declarations of the pure packages may use: types, and no way to the outside.
PURE_CIMPORTS = ("cython", "cpython", "libc.stdint", "libc.string", "libc.stddef", "libc.math")

# Imports go one way; import-linter reads .py files only, so the .pxd files are checked here.
MAY_CIMPORT = {
    "routing": {"routing"},
    "limits": {"limits"},
    "wire": {"wire", "limits"},
    "cluster": {"cluster", "limits", "routing"},
    "proxy": {"proxy", "cluster", "limits", "routing", "wire"},
}

# The one circle of imports, for types and in C declarations too: two ends of one talk. Modules that
# go in a circle cannot be read, or tested, without each other.
ALLOWED_CIRCLES = [{"lbproxy.proxy.exchange.exchange", "lbproxy.proxy.exchange.upstream"}]

SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("lbproxy", "bench")
    for path in (ROOT / folder).rglob("*.py")
    if "out" not in path.relative_to(ROOT).parts
)
TESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))
PACKAGES = [name for name in SOURCES if re.fullmatch(r"lbproxy/(.*/)?__init__\.py", name)]
DECLARATIONS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "lbproxy").rglob("*.pxd"))


def _cimports(declaration: Path) -> list[str]:
    """The modules whose C declarations this one uses."""
    found = re.findall(
        r"^\s*(?:from\s+(\S+)\s+)?cimport\s+(\S+)", declaration.read_text(), re.MULTILINE
    )
    return [origin or module for origin, module in found]


def _needed_by(declaration: Path, seen: set[Path]) -> set[Path]:
    """This .pxd and all of ours that it uses, directly or not."""
    if declaration not in seen and declaration.exists():
        seen.add(declaration)
        for module in _cimports(declaration):
            if module.startswith("lbproxy."):
                _needed_by(ROOT / f"{module.replace('.', '/')}.pxd", seen)
    return seen


def test_imports_go_one_way() -> None:
    """The contracts in pyproject.toml: layers, also within packages, and purity of wire and
    cluster."""
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", DECLARATIONS)
def test_declarations_follow_the_same_layers(name: str) -> None:
    package = Path(name).parts[1]
    for source in _cimports(ROOT / name):
        if source.startswith("lbproxy."):
            assert source.split(".")[1] in MAY_CIMPORT[package], f"{name} cimports {source}"
        elif package in ("routing", "limits", "wire", "cluster"):
            assert source.startswith(PURE_CIMPORTS), f"{name} is pure, but cimports {source}"


def _layers() -> list[list[list[str]]]:
    """The contracts in pyproject.toml that are layers, each from the top down."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    return [
        [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
        for contract in contracts
        if contract["type"] == "layers"
    ]


def _place(module: str, layers: list[list[str]]) -> tuple[int, str] | None:
    """Where a module stands in a contract: its layer, counted from the top, and its name there."""
    for number, names in enumerate(layers):
        for name in names:
            if module == name or module.startswith(f"{name}."):
                return number, name
    return None


@pytest.mark.parametrize("name", DECLARATIONS)
def test_declarations_hold_every_contract(name: str) -> None:
    """import-linter reads .py files only; a `cimport` ties modules as much as an import."""
    contracts = _layers()
    assert len(contracts) >= 5
    module = ".".join(Path(name).with_suffix("").parts)
    for layers in contracts:
        here = _place(module, layers)
        for source in _cimports(ROOT / name):
            there = _place(source, layers)
            if here is not None and there is not None and here != there:
                assert there[0] > here[0], f"{name} cimports {source}, which stands above or beside"


def _modules() -> dict[str, Path]:
    """Every module of lbproxy with its file."""
    files = {path: path.relative_to(ROOT).with_suffix("") for path in map(ROOT.joinpath, SOURCES)}
    return {
        ".".join(name.parent.parts if name.name == "__init__" else name.parts): path
        for path, name in files.items()
        if name.parts[0] == "lbproxy"
    }


def _imports(path: Path, modules: Collection[str]) -> set[str]:
    """The modules of ours that a file imports: at run time or for types, anywhere in it, or in its
    C declarations."""
    found = set(_cimports(path.with_suffix(".pxd"))) if path.with_suffix(".pxd").exists() else set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` needs the module, not what else is in the package.
            found |= {name if name in modules else node.module for name in names}
    return found & set(modules)


def _circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The modules that lead back to themselves, circle by circle."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += graph[name]
        reached[start] = seen
    circles: list[set[str]] = []
    for name, seen in reached.items():
        if name in seen and not any(name in circle for circle in circles):
            circles.append({other for other in seen if name in reached[other]})
    return circles


def test_circles_are_found() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert _circles(graph) == [{"b", "c"}, {"e"}]


def test_no_imports_go_in_a_circle() -> None:
    modules = _modules()
    graph = {name: _imports(path, modules) - {name} for name, path in modules.items()}
    assert len(graph) > 200
    assert _circles(graph) == ALLOWED_CIRCLES, "put what they share below them"


@pytest.mark.parametrize("name", SOURCES)
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / name).read_text())), f"{name} has no docstring"


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_has_a_map(name: str) -> None:
    """It names each module, and none that there is not; `mcmp` stands for `mcmp_http` as well."""
    here = (ROOT / name).parent
    lines = (ast.get_docstring(ast.parse((ROOT / name).read_text())) or "").splitlines()
    told = set(re.findall(r"`([a-z0-9_]+)`", "\n".join(lines)))
    if name == "lbproxy/cli/__init__.py":
        told |= set(cli._MODULES.values())
    modules = {path.stem for path in here.glob("*.py")} - {"__init__", "__main__"}
    missing = {each for each in modules - told if each.partition("_")[0] not in told}
    assert not missing, f"{name} does not say what these are for: {sorted(missing)}"
    listed = {each for line in lines for each in re.findall(r"(?:^- |; )`([a-z0-9_]+)`", line)}
    gone = listed - modules - {path.parent.name for path in here.glob("*/__init__.py")}
    assert not gone, f"{name} names modules that are gone: {sorted(gone)}"


def test_a_class_name_stands_for_one_thing() -> None:
    """No reader has to look at the imports to know which `Pool` is meant."""
    homes: dict[str, list[str]] = {}
    for source in SOURCES:
        if source.startswith("lbproxy/"):
            for node in ast.parse((ROOT / source).read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(source)
    shared = {name: where for name, where in homes.items() if len(where) > 1}
    unknown = {name: where for name, where in shared.items() if name not in SHARED_NAMES}
    assert not unknown, f"{unknown}: rename one, or give SHARED_NAMES a reason"
    unused = SHARED_NAMES.keys() - shared
    assert not unused, f"{unused} are shared no more: remove them from SHARED_NAMES"


def test_the_sections_of_the_file_are_called_settings() -> None:
    """`PoolSettings` is what the file says of a pool; a plain `Pool` is the running one."""
    roots = (Config, AgentConfig)
    for root in roots:
        for path, model in sections(root):
            name = model.__name__
            allowed = model in roots or model is ConfiguredNode or name.endswith("Settings")
            assert allowed, f"{name} at {path}: call it {name}Settings"


@pytest.mark.parametrize("name", [*SOURCES, *TESTS])
def test_files_stay_small(name: str) -> None:
    lines = len((ROOT / name).read_text().splitlines())
    if name in LONG_FILES:
        assert lines > MAX_LINES, f"{name} is short again: remove its entry from LONG_FILES"
    else:
        assert lines <= MAX_LINES, f"{name}: {lines} lines; split it, or give LONG_FILES a reason"


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("lbproxy/")])
def test_functions_fit_on_a_screen_or_two(name: str) -> None:
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            honest = name.startswith("lbproxy/wire/") and node.name in AUTOMATA
            assert lines <= MAX_FUNCTION_LINES or honest, f"{name}: {node.name} has {lines} lines"


@pytest.mark.parametrize("name", DECLARATIONS)
def test_compiled_modules_are_fresh(name: str) -> None:
    """A stale extension wins over an edited .py, so that tests would run yesterday's code.

    If a class that it uses from another module has grown, it cannot be imported at all.
    """
    declaration = ROOT / name
    source = declaration.with_suffix(".py")
    built = declaration.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
    assert source.exists(), f"{name} has no .py beside it"
    assert built.exists(), f"{source.name} is not compiled: run `make build`"
    newest = max(path.stat().st_mtime for path in (source, *_needed_by(declaration, set())))
    assert built.stat().st_mtime >= newest, f"{built.name} is stale: run `make build`"


def test_no_extension_without_its_source() -> None:
    """What is left of a module that is no longer compiled would still be imported."""
    left = [
        path.name
        for path in (ROOT / "lbproxy").rglob("*.so")
        if not (path.parent / f"{path.name.split('.')[0]}.pxd").exists()
    ]
    assert not left, f"{left} have no .pxd: run `make clean build`"


def _pins() -> dict[str, str]:
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {_canonical(pin.name): str(pin.specifier).removeprefix("==") for pin in wanted}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_pins_what_the_project_asks_for() -> None:
    """Each requirement has a pin inside its range, and the lock names no place of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *extras["dev"],
        *extras["bench"],
    ]
    pins = _pins()
    for text in wanted:
        requirement = Requirement(text)
        pin = pins.get(_canonical(requirement.name))
        assert pin is not None, f"{text} is not in requirements-dev.lock"
        assert requirement.specifier.contains(pin), f"{text}, but the lock has {pin}"
    body = (ROOT / "requirements-dev.lock").read_text()
    assert not re.search(r"https?:|file:|\s@\s|--(index|find|extra)", body)
