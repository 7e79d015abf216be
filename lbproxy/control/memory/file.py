"""The state file: read at start, written while things change; see `state` for what it holds.

It is written at most once a second and at the end, beside itself and then renamed, both on disk
before the old one is gone, in a thread: a machine that stops in the midst leaves the old file or
the new one. A file that cannot be read is set aside, so that the next start is not stopped by it,
and nothing is lost of what a person may want to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Collection
from pathlib import Path

from lbproxy.cluster.snapshot import Snapshot
from lbproxy.control.memory.state import BadState, Encoder, Key, SavedState, decode

_log = logging.getLogger("lbproxy.state")
EVERY_S = 1.0
RETRY_S = 10.0  # after a write that failed
# 1,000 nodes with 100 contexts each are some 10 MB.
MAX_FILE = 64 << 20


class StateError(Exception):
    """The state file cannot be used; the text says what to do."""


class StateFile:
    """Owns the file at `path`.

    Methods that read or write block and are for a thread, but for put(), run() and close().
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._new = self._path.with_name(f".{self._path.name}.new")
        self._lock = self._path.with_name(f".{self._path.name}.lock")
        self._encoder = Encoder()
        self._written = b""
        self._pending: tuple[Snapshot, Collection[Key]] | None = None
        self._due = asyncio.Event()
        self._writing = threading.Lock()
        self._failing = False
        self._claimed: int | None = None  # a lock, which ends with the process at the latest

    def check(self) -> None:
        """Find out whether the file can be written. Raises: StateError."""
        try:
            os.close(self._open_new())
            os.unlink(self._new)
        except OSError as error:
            raise StateError(
                f"state_file {self._path}: cannot be written: {_words(error)}; give lbproxy's "
                f"user a directory of its own there (systemd: StateDirectory=lbproxy)"
            ) from None

    def claim(self) -> None:
        """Let nobody else write the file until close() or the end of this process.

        What is locked lies beside it: it is itself replaced with each write. Raises: StateError.
        """
        if self._claimed is not None:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._lock, flags, 0o600)
        except OSError as error:
            raise StateError(f"state_file {self._lock}: {_words(error)}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it may have removed it since it was opened.
            taken = os.fstat(descriptor).st_ino != os.stat(self._lock).st_ino
        except OSError:
            taken = True
        if taken:
            owner = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f" (pid {owner})" if owner.isdigit() else ""
            raise StateError(
                f"state_file {self._path}: is in use by another lbproxy{who}; "
                "each needs a file of its own"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        self._claimed = descriptor

    def release(self) -> None:
        """Let others write the file."""
        descriptor, self._claimed = self._claimed, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # what stays of it is locked by nobody
                self._lock.unlink()
            os.close(descriptor)

    def read(self) -> SavedState:
        """Return what the file holds; nothing if there is none, or none that can be used."""
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
            if len(data) > MAX_FILE:
                raise BadState(f"larger than {MAX_FILE >> 20} MiB")
            return decode(data)
        except FileNotFoundError:
            return SavedState()
        except (BadState, OSError) as error:
            self._set_aside(_words(error))
            return SavedState()

    def put(self, snapshot: Snapshot, passing: Collection[Key]) -> None:
        """Keep this from now on. Args: as of `Encoder.encode`; neither may change."""
        self._pending = (snapshot, passing)
        self._due.set()

    async def run(self) -> None:
        """Write what is to be kept, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            written = await self._write_pending()
            await asyncio.sleep(EVERY_S if written else RETRY_S)

    async def close(self) -> None:
        """Write what is to be kept once more; run() has ended. May be called again."""
        if self._pending is not None:
            await self._write_pending()
        self.release()

    async def _write_pending(self) -> bool:
        pending = self._pending
        if pending is None:
            return True
        try:
            await asyncio.to_thread(self._write, *pending)
        except OSError as error:
            if not self._failing:
                _log.error(
                    "state_file %s: cannot be written: %s: what changes from now on is forgotten "
                    "at a restart",
                    *(self._path, _words(error)),
                )
            self._failing = True
            self._due.set()
            return False
        if self._failing:
            self._failing = False
            _log.info("state_file %s: can be written again", self._path)
        if self._pending is pending:
            self._pending = None
        return True

    def _write(self, snapshot: Snapshot, passing: Collection[Key]) -> None:
        # A thread outlives the task that waited for it: the last write must not meet it.
        with self._writing:
            data = self._encoder.encode(snapshot, passing)
            if data == self._written:
                return
            descriptor = self._open_new()
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(self._new, self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            self._written = data

    def _open_new(self) -> int:
        """Open a new, empty file that only this user reads."""
        self._new.unlink(missing_ok=True)  # of a process that died in the midst
        return os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    def _set_aside(self, reason: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.unusable")
        try:
            os.replace(self._path, aside)
            where = f"set aside as {aside}"
        except OSError as error:
            where = f"and cannot be set aside: {_words(error)}"
        _log.warning(
            "state_file %s: %s; %s; nodes have to join again", *(self._path, reason, where)
        )


def _words(error: BadState | OSError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
