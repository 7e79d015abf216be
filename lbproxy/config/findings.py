"""Problems of a configuration and their places, and the words that point to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

_LONG = 6  # letters; in a shorter word two slips are too many

Path = tuple[str | int, ...]
# Stands in a path for the name of a named section, as opposed to its content.
NAME_KEY = "[key]"


class Severity(Enum):
    """ERROR: the configuration is not used; WARNING: it is, and something in it will go wrong
    later."""

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
    """A problem whose place in the file is not known yet.

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
    """Return the known word that this one may be a slip of, None if there is none.

    A slip is one letter, in a long word two, too many, too few, changed or exchanged. Words that
    merely look alike often mean something else.
    """
    allowed = 1 if len(word) < _LONG else 2
    close = [(_distance(word.lower(), each.lower(), allowed), each) for each in known]
    best = min(close, key=lambda pair: pair[0], default=(allowed + 1, ""))
    return best[1] if best[0] <= allowed and any(map(str.isalpha, word)) else None


def _distance(one: str, other: str, most: int) -> int:
    """Return how many slips lie between two words, or some number above `most` if there are
    more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, now[column - 1] + 1, last[column - 1] + (letter != wanted))
            exchanged = row > 1 and column > 1 and letter == other[column - 2]
            if exchanged and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]
