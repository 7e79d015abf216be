"""The valid rest of a configuration that has errors, so that all of it can be checked in one go.

What pydantic refuses is cut out of the data until the rest is valid. The checks across sections
then look at that rest; what they find at or around a cut may be a consequence and is left out.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from lbproxy.config.messages import data_path
from lbproxy.config.problems import Path
from lbproxy.config.schema import Config, Listener, Pool, Route
from lbproxy.config.units import NODE_NAME

# Each round cuts at least one thing; a file that needs more has errors enough to show.
MAX_ROUNDS = 20


class Draft(Config):
    """A configuration of which even the required sections may be missing."""

    listeners: tuple[Listener, ...] = ()
    pools: dict[Annotated[str, Field(pattern=NODE_NAME)], Pool] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()


class _Items(list[object]):
    """A list that knows the indices that its entries had in the file."""

    def __init__(self, entries: list[object]) -> None:
        super().__init__(entries)
        self.origin = list(range(len(entries)))


def _copy(data: object) -> object:
    if isinstance(data, dict):
        return {key: _copy(value) for key, value in data.items()}
    if isinstance(data, list):
        return _Items([_copy(value) for value in data])
    return data


class Cutter:
    """Cuts what is invalid out of a copy of the data.

    Args: data: the whole file; context: pydantic's validation context.
    """

    def __init__(self, data: dict[str, object], context: dict[str, object]) -> None:
        self._tree = _copy(data)
        self._context = context
        self._cuts: set[Path] = set()

    def valid_rest(self, first: ValidationError) -> Draft | None:
        """Return what is left when everything invalid is cut out, None if nothing is.

        Args: first: what was wrong with the whole.
        """
        problem = first
        for _ in range(MAX_ROUNDS):
            cuts = []
            for details in problem.errors():
                path = self.original(data_path(details["loc"]))
                # Something that is missing cannot be cut out, but what needs it can; the required
                # sections of the file are optional in a draft.
                if details["type"] == "missing":
                    path = path[:-1]
                    if not path:
                        continue
                cuts.append(path)
            for path in cuts:
                if not path or not self._cut(path):
                    return None
            self._cuts.update(cuts)
            try:
                return Draft.model_validate(self._tree, context=self._context)
            except ValidationError as next_problem:
                problem = next_problem
        return None

    def original(self, path: Path) -> Path:
        """Return the path with the indices that its entries had in the file."""
        result: list[str | int] = []
        tree = self._tree
        for part in path:
            if isinstance(tree, _Items) and isinstance(part, int):
                result.append(tree.origin[part])
                tree = tree[part]
            else:
                result.append(part)
                tree = tree.get(part) if isinstance(tree, dict) else None
        return tuple(result)

    def doubtful(self, path: Path) -> bool:
        """Return whether a finding there (indices as in the file) may be a cut's consequence."""
        return any(cut[: len(path)] == path or path[: len(cut)] == cut for cut in self._cuts)

    def _cut(self, path: Path) -> bool:
        """Remove what is at the path (indices as in the file); True if it is gone."""
        tree = self._tree
        for part in path[:-1]:
            if isinstance(tree, _Items) and isinstance(part, int):
                if part not in tree.origin:
                    return True
                tree = tree[tree.origin.index(part)]
            elif isinstance(tree, dict):
                if part not in tree:
                    return True
                tree = tree[part]
        last = path[-1]
        if isinstance(tree, _Items) and isinstance(last, int):
            if last in tree.origin:
                at = tree.origin.index(last)
                del tree[at], tree.origin[at]
            return True
        return isinstance(tree, dict) and (tree.pop(last, None) is None or True)
