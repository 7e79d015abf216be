"""Mends a configuration that has errors, so that all of it can be checked in one go.

It works on a copy of the data: a value that pydantic refuses is taken out, and a required one is
filled in. So each entry keeps its good parts: its name, its address, its references. A value that
was taken out or filled in is in doubt, and no finding may rest on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Generic, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from lbproxy.config.findings import NAME_KEY, Finding, Path
from lbproxy.config.messages import causes, data_path, field_at, meant, model_at, models_in
from lbproxy.config.model import Model
from lbproxy.config.units import MAY_BE_NO_FILE, NO_FILE, Kind

# Each round mends everything that the round before found. A mended section may show further errors
# below it, which need another round. The schema is seven levels deep.
MAX_ROUNDS = 20

Root = TypeVar("Root", bound=Model)
# By the kind of a required field: a value that does no harm and clashes with nothing.
_FILLERS = {
    "address": "127.0.0.1:0",
    "url": "http://192.0.2.1:9",
    "file": NO_FILE,
    "network": "255.255.255.255/32",
}


class Doubts:
    """The places of a file (indices and names as written) whose values are not known."""

    def __init__(self) -> None:
        self._places: set[Path] = set()
        self._above: set[Path] = set()  # every section that holds one of them

    def add(self, place: Path) -> None:
        """Doubt the value at a place."""
        self._places.add(place)
        self._above.update(place[:end] for end in range(len(place)))

    def at(self, path: Path) -> bool:
        """Return True if the value at the path, or a section that holds it, is in doubt."""
        return any(path[:end] in self._places for end in range(len(path) + 1))

    def within(self, path: Path) -> bool:
        """Return True if the value at the path, or any below it, is in doubt."""
        return path in self._above or self.at(path)


def certain(
    findings: Iterable[Finding], doubts: Doubts, original: Callable[[Path], Path]
) -> Iterator[Finding]:
    """Yield the findings at values that are not in doubt, with their places in the file.

    Args: original: turns the paths of the findings into those of the file.
    """
    for finding in findings:
        path = original(finding.path)
        other = original(finding.other) if finding.other is not None else None
        if not doubts.at(path) and (other is None or not doubts.at(other)):
            yield replace(finding, path=path, other=other)


def unchanged(path: Path) -> Path:
    """Return the path, of a file that needed no mending."""
    return path


class _Items(list[object]):
    """A list that knows the indices that its entries had in the file."""

    def __init__(self, entries: list[object]) -> None:
        super().__init__(entries)
        self.origin = list(range(len(entries)))


class _Section(dict[str, object]):
    """A mapping that knows the file's own spelling of the keys that were changed."""

    def __init__(self, entries: dict[str, object]) -> None:
        super().__init__(entries)
        self.origin: dict[str, str] = {}


def _copy(data: object) -> object:
    if isinstance(data, dict):
        return _Section({key: _copy(value) for key, value in data.items()})
    if isinstance(data, list):
        return _Items([_copy(value) for value in data])
    return data


class Mender(Generic[Root]):
    """Mends a copy of the data until it is valid.

    Args: data: the whole file; context: pydantic's validation context; root: of the file; doubts:
    the places in doubt so far; more are added.
    """

    def __init__(
        self,
        data: dict[str, object],
        context: dict[str, object],
        root: type[Root],
        doubts: Doubts,
    ) -> None:
        self._tree = _copy(data)
        self._context = {**context, MAY_BE_NO_FILE: True}
        self._root = root
        self._doubts = doubts
        self._names = (f"unknown-to-lbproxy-{number}" for number in count())

    def mended(self, first: ValidationError) -> Root | None:
        """Return the file without the values in doubt, None if it cannot be mended.

        Args: first: the errors of the whole file.
        """
        problem = first
        for _ in range(MAX_ROUNDS):
            # From the end, so that taking an entry out of a list moves no entry that is still to
            # come.
            faults = sorted(
                {
                    (data_path(details["loc"]), details["type"], NAME_KEY in details["loc"])
                    for details in causes(problem)
                },
                key=lambda fault: [(str(type(part)), part) for part in fault[0]],
                reverse=True,
            )
            marked = [self._in_doubt(*fault) for fault in faults]
            for path, kind, is_key in faults:
                self._mend(path, kind, is_key)
            for places in marked:
                for place in places:
                    self._doubts.add(place)
            try:
                return self._root.model_validate(self._tree, context=self._context)
            except ValidationError as next_problem:
                problem = next_problem
        return None

    def original(self, path: Path) -> Path:
        """Return the path as it is in the file. Args: path: in what `mended` returned."""
        return tuple(part for part, _ in self._walk(path))

    def at(self, path: Path) -> bool:
        """Return `Doubts.at` for a path in what `mended` returned."""
        return self._doubts.at(self.original(path))

    def within(self, path: Path) -> bool:
        """Return `Doubts.within` for a path in what `mended` returned."""
        return self._doubts.within(self.original(path))

    def _walk(self, path: Path) -> Iterator[tuple[str | int, object]]:
        """Yield each part as it is in the file, and the value there."""
        tree = self._tree
        for part in path:
            name = part
            if isinstance(tree, _Items) and isinstance(part, int):
                there = part < len(tree)
                name = tree.origin[part] if there else part
                tree = tree[part] if there else None
            elif isinstance(tree, _Section) and isinstance(part, str):
                name = tree.origin.get(part, part)
                tree = tree.get(part)
            else:
                tree = None
            yield name, tree

    def _in_doubt(self, path: Path, kind: str, is_key: bool) -> list[Path]:
        """Return what is not known because of a fault, as in the file."""
        if is_key:
            return [(*self.original(path), NAME_KEY)]
        places = [self.original(path)]
        if kind == "extra_forbidden":
            # Who wrote `coookie` has said what cookie is, though not how.
            key = meant(path, self._root)
            if key is not None and key not in self._section(path[:-1]):
                places.append(self.original((*path[:-1], key)))
        return places

    def _section(self, path: Path) -> _Section | _Items:
        steps = [self._tree, *(tree for _, tree in self._walk(path))]
        tree = steps[-1]
        return tree if isinstance(tree, _Section | _Items) else _Section({})

    def _mend(self, path: Path, kind: str, is_key: bool) -> None:
        if not path:
            return
        parent, last = self._section(path[:-1]), path[-1]
        if isinstance(parent, _Items) and isinstance(last, int):
            if model_at(path, self._root) is not None:
                parent[last] = _Section({})
            elif last < len(parent):
                del parent[last], parent.origin[last]
        elif isinstance(parent, _Section) and isinstance(last, str):
            field = field_at(path, self._root)
            if is_key:
                name = next(self._names)
                parent[name] = parent.pop(last, None)
                parent.origin[name] = last
            elif kind == "extra_forbidden":
                parent.pop(last, None)
            elif field is None or field.is_required():
                parent[last] = self._filler(field)
            else:
                parent.pop(last, None)

    def _filler(self, field: FieldInfo | None) -> object:
        """Return a stand-in for a required value. Args: field: None for a named section."""
        if field is None:
            return _Section({})
        container, inner = get_origin(field.annotation), get_args(field.annotation)
        if next(models_in(field.annotation), None) is not None:
            if container is dict:
                return _Section({next(self._names): _Section({})})
            return _Items([_Section({})]) if container is tuple else _Section({})
        metadata = getattr(inner[0], "__metadata__", ()) if container is tuple else field.metadata
        kind = next((each.words for each in metadata if isinstance(each, Kind)), "")
        value = _FILLERS.get(kind) or next(self._names)
        return _Items([value]) if container is tuple else value
