"""Secrets that live only as long as their process: files in memory, which no kill leaves behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Self


class PrivateFiles:
    """Files of this user alone; use it as `with`, or leave it to the end of the process.

    On Linux they are memory that other programs of this user reach through /proc while this process
    runs. Elsewhere they are in `directory`, and stay there if the process is killed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptors: list[int] = []
        self._paths: list[Path] = []

    def add(self, name: str, content: bytes) -> Path:
        """Return the path of a new file. Raises: OSError."""
        if not hasattr(os, "memfd_create"):
            path = self._directory / name
            write_private(path, content)
            self._paths.append(path)
            return path
        descriptor = os.memfd_create(f"lbproxy {name}", os.MFD_CLOEXEC)
        self._descriptors.append(descriptor)
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        return Path(f"/proc/{os.getpid()}/fd/{descriptor}")

    def close(self) -> None:
        """Remove all of them."""
        while self._descriptors:
            os.close(self._descriptors.pop())
        while self._paths:
            with contextlib.suppress(OSError):
                self._paths.pop().unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user reads, even if it was there with other permissions."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
