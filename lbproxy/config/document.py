"""YAML text -> plain data, and the place of each part in the text.

The text is composed to YAML's node graph and turned into data here, not by PyYAML's constructors:
only mappings, lists and plain scalars exist, no tags, no merge keys, and a key is always text.
Size, depth and the number of values (aliases counted each time they are used) are bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lbproxy.config.findings import Finding, Path, Problem, Severity, written

MAX_BYTES = 1 << 20
# The deepest key of the schema lies at 7; Python's own limit on recursion is far above.
MAX_DEPTH = 32
# A thousand nodes and a thousand routes make about ten thousand values.
MAX_VALUES = 100_000

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text, both from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """A file as data.

    Args: data: dicts, lists, str, int, float, bool, None; None if the text is no YAML; keys,
    values: the places at which a path's key and its value begin; unread: paths whose value is
    missing from the data, each with a problem of its own.
    """

    file: str
    data: object = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)

    def place(self, path: Path, *, key: bool = False) -> Mark:
        """Return the place at which a person looks for the path.

        That is its value, or its key if asked for or if the value begins below it; for a path that
        is not in the file it is the nearest parent's.
        """
        while path:
            own, value = self.keys.get(path), self.values.get(path)
            if own is not None and (key or value is None or value.line != own.line):
                return own
            if value is not None:
                return value
            path = path[:-1]
            key = True
        return Mark(1, 1)

    def report(self, path: Path, mark: Mark, message: str) -> None:
        """Add an error at a place."""
        self.problems.append(
            Problem(Severity.ERROR, self.file, mark.line, mark.column, written(path), message)
        )

    def with_findings(self, findings: Iterable[Finding]) -> tuple[Problem, ...]:
        """Return all that is wrong with the file, these findings included, in its order."""
        problems = {*self.problems, *map(self._located, findings)}
        return tuple(sorted(problems, key=lambda each: (each.line, each.column, each.path)))

    def _located(self, finding: Finding) -> Problem:
        mark = self.place(finding.path, key=finding.at_key)
        message = finding.message
        if finding.other is not None:
            message += f" {written(finding.other)}"
        return Problem(
            finding.severity, self.file, mark.line, mark.column, written(finding.path), message
        )


class _TooMuch(Exception):
    """A limit was exceeded; the rest of the file is not read."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


class _Composer(yaml.SafeLoader):
    """Composes the node graph no deeper than MAX_DEPTH."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _TooMuch(_mark(mark), f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_file(path: FilePath) -> Document:
    """Return a file as data with its places; errors are in `problems`. Never raises."""
    unreadable = Document(str(path))
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        unreadable.report((), Mark(1, 1), f"cannot be read: {problem.strerror}")
        return unreadable
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = content[: problem.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        mark = Mark(before.count(b"\n") + 1, column)
        unreadable.report((), mark, "is not UTF-8 text")
        return unreadable
    return read(text, str(path))


def read(text: str, file: str) -> Document:
    """Return the text as data with its places; errors are in `problems`. Never raises."""
    document = Document(file)
    if len(text) > MAX_BYTES:
        document.report((), Mark(1, 1), f"larger than {MAX_BYTES} bytes; split it or check it")
        return document
    composer = None
    try:
        composer = _Composer(text)
        root = composer.get_single_node()
        if root is not None:
            document.data = _Reader(document).value(root, ())
    except yaml.MarkedYAMLError as problem:
        document.report((), _mark(problem.problem_mark or problem.context_mark), _syntax(problem))
    except yaml.reader.ReaderError as problem:
        before = text[: problem.position]
        line = before.count("\n")
        mark = Mark(line + 1, problem.position - (before.rfind("\n") + 1) + 1)
        document.report((), mark, f"the character U+{problem.character:04X} is not allowed")
    except _TooMuch as problem:
        document.report((), problem.mark, problem.message)
    finally:
        if composer is not None:
            composer.dispose()
    return document


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark is not None else Mark(1, 1)


def _syntax(problem: yaml.MarkedYAMLError) -> str:
    text = problem.problem or "cannot be read"
    context = f" {problem.context}" if problem.context else ""
    hint = ""
    if "'\\t'" in text:
        hint = "; indent with spaces, not with tabs"
    elif text.startswith(("mapping values are not allowed", "could not find expected ':'")):
        hint = "; look for a missing space after a colon, or for text that needs quotes"
    return f"not valid YAML{context}: {text}{hint}"


class _Reader:
    """Turns nodes into data and notes their places."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0

    def value(self, node: Node, path: Path) -> object:
        """Return the node as data. Raises: _TooMuch."""
        mark = _mark(node.start_mark)
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooMuch(mark, f"more than {MAX_VALUES} values, aliases counted as often as used")
        if len(path) > MAX_DEPTH:
            raise _TooMuch(
                mark, f"nested deeper than {MAX_DEPTH} levels; does an alias hold itself?"
            )
        self._document.values[path] = mark
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return {key: self.value(child, (*path, key)) for key, child in self._items(node, path)}
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            return _scalar(node)
        self._document.report(path, mark, f"the tag {node.tag} is not allowed")
        self._document.unread.append(path)
        return None

    def _items(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Node]]:
        for key_node, child in node.value:
            mark = _mark(key_node.start_mark)
            if not isinstance(key_node, ScalarNode):
                self._document.report(path, mark, "a key must be text")
                continue
            if key_node.tag == f"{_TAG}merge":
                self._document.report(
                    path,
                    mark,
                    "merge keys (<<) are not supported; repeat the keys or use a profile",
                )
                continue
            key = str(key_node.value)
            first = self._document.keys.get((*path, key))
            if first is not None:
                self._document.report(
                    (*path, key), mark, f"written twice; it is on line {first.line} already"
                )
                continue
            self._document.keys[(*path, key)] = mark
            yield key, child


_SCALARS = {f"{_TAG}{kind}" for kind in ("str", "null", "bool", "int", "float", "timestamp")}


def _scalar(node: ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    kind = node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    try:
        if kind == "int":
            # Nobody means octal (010) or base 60 (1:30): they stay text.
            return int(text, 10) if text.lstrip("+-") == "0" or text[:1] != "0" else text
        if kind == "float":
            return float(text)
    except ValueError:
        return text
    return text
