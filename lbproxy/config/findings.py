"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

_LONG = 6  # letters; of a shorter word two are too much of it

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
    """Return the known word of which this one may be a slip of the pen, None if there is none.

    One or two letters too many, too few, changed or exchanged, as the word is short or long: what
    merely looks alike means something else as often as not.
    """
    allowed = 1 if len(word) < _LONG else 2
    close = [(_distance(word.lower(), each.lower(), allowed), each) for each in known]
    best = min(close, key=lambda pair: pair[0], default=(allowed + 1, ""))
    return best[1] if best[0] <= allowed and any(map(str.isalpha, word)) else None


def _distance(one: str, other: str, most: int) -> int:
    """Return how many slips lie between two words, or more than `most` where there are more."""
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
