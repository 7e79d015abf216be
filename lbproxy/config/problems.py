"""What is wrong with a configuration, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

Path = tuple[str | int, ...]
# What stands below a named section for its name, where that is meant and not what it holds.
NAME_KEY = "[key]"


class Severity(Enum):
    """ERROR: the configuration is not used; WARNING: it is, and something in it will bite."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args: line, column: from 1; path: as `pools.idp.nodes[1].url`, empty for the file as a whole.
    """

    severity: Severity
    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        kind = "warning: " if self.severity is Severity.WARNING else ""
        return (
            f"{where}{kind}{self.path}: {self.message}"
            if self.path
            else f"{where}{kind}{self.message}"
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before it is known where in the file it lies.

    Args: at_key: the key itself is wrong, not its value; other: a second place that the message
    ends with, such as the first use of a name.
    """

    severity: Severity
    path: Path
    message: str
    at_key: bool = False
    other: Path | None = None


def error(path: Path, message: str, other: Path | None = None) -> Finding:
    """Return a finding that makes the configuration unusable."""
    return Finding(Severity.ERROR, path, message, other=other)


def warning(path: Path, message: str, other: Path | None = None) -> Finding:
    """Return a finding that only warns."""
    return Finding(Severity.WARNING, path, message, other=other)


def written(path: Path) -> str:
    """Return the path as a person writes it: `pools.idp.nodes[1].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean x?` for the known word nearest to this one, or nothing."""
    close = near(word, known)
    return f"; did you mean {close}?" if close is not None else ""


def near(word: str, known: Iterable[str]) -> str | None:
    """Return the known word nearest to this one, None where none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)
