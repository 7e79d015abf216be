"""Whether the configuration's file, or one that it names, has changed and come to rest.

The kernel is not asked to tell of changes; files are looked at, by what `stat` says. So an editor
that puts a new file in the old one's place, a link that leads elsewhere (as Kubernetes swaps
`..data`) and a file system of another machine are all alike, and nothing is missed.
"""

from __future__ import annotations

import os
from pathlib import Path

from lbproxy.config.named_files import named_files
from lbproxy.config.schema import Config
from lbproxy.files import FileMark, mark_of

# How often. What is the same twice has come to rest, so a change is followed within two looks.
EVERY_S = 0.5

# Of each file its mark, None if it is not there; of a folder the names in it.
_Marks = dict[str, FileMark | frozenset[str] | None]


class FileWatch:
    """Looks at the files of a configuration, whenever it is due.

    If a reload has failed, it also looks for files that come into the folders of those it knows:
    what the new file names may be missing yet, and lie there.

    Args: path: of the configuration; config: that holds; now: monotonic seconds.
    Attributes: due: when to look next, in monotonic seconds.
    """

    def __init__(self, path: Path, config: Config, now: float) -> None:
        self.due = now + EVERY_S
        self._path = str(path.absolute())
        self._files = self._of(config)
        self._folders: set[str] = set()
        self._known = self._marks()  # what the last reload has seen, or what was there before it
        self._seen = self._known

    def look(self, now: float) -> bool:
        """Return True if something has changed since the last reload, and changes no more."""
        self.due = now + EVERY_S
        marks = self._marks()
        settled = marks == self._seen
        self._seen = marks
        return settled and marks != self._known

    def reload_begins(self) -> None:
        """The files are about to be read, whoever has asked for it."""
        self._known = self._seen = self._marks()

    def reload_ends(self, config: Config, *, worked: bool) -> None:
        """They were read. Args: config: that holds now."""
        self._files = self._of(config)
        folders = set() if worked else {os.path.dirname(file) for file in self._files}
        self._folders = folders
        # Those that are looked at anew count as read: they were, a moment ago.
        self._known = {name: self._known.get(name, mark) for name, mark in self._marks().items()}

    def _of(self, config: Config) -> set[str]:
        return {self._path, *named_files(config)}

    def _marks(self) -> _Marks:
        marks: _Marks = {file: mark_of(file) for file in self._files}
        return marks | {folder: _names_in(folder) for folder in self._folders}


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
