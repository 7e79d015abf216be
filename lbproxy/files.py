"""What tells one state of a file from the next, for those who read it again when it changes."""

from __future__ import annotations

import os

# Modification time in nanoseconds, size, inode: a file that is replaced within a tick of the file
# system's clock has another inode.
FileMark = tuple[int, int, int]


def mark_of(path: str | os.PathLike[str]) -> FileMark | None:
    """Return the mark of a file as it is now, None if it cannot be looked at.

    Take it before reading: what changes meanwhile is then seen the next time.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
