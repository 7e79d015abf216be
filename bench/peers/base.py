"""What the comparison knows of a peer."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.setting import Setting

# Where servers are installed; not in everybody's PATH.
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


@dataclass(frozen=True, slots=True)
class Peer:
    """One proxy: how to find it, and how it is told a setting.

    Args:
        binary: its command.
        version_argv: what it is asked for its version.
        prepare: writes the configuration and returns the arguments behind the command.
        check_argv: from the prepared arguments, those that only test the configuration.
        command: how it is called, where that is told and not looked for.
    """

    name: str
    binary: str
    version_argv: tuple[str, ...]
    prepare: Callable[[Setting], list[str]]
    check_argv: Callable[[list[str]], list[str]] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    def find(self) -> list[str] | None:
        """How it is called; None where it is not installed."""
        if self.command:
            return [*self.command] if Path(self.command[0]).exists() else None
        beside_python = Path(sys.executable).parent / self.binary
        if beside_python.exists():
            return [str(beside_python)]
        if self.binary == "lbproxy":  # the checkout, installed or not
            return [sys.executable, "-m", "lbproxy"]
        found = shutil.which(self.binary)
        for folder in SYSTEM_FOLDERS:
            found = found or shutil.which(self.binary, path=folder)
        return [found] if found else None

    def version(self) -> str | None:
        """Its version number; None where it is not installed, or does not say."""
        command = self.find()
        if command is None:
            return None
        with suppress(OSError, subprocess.TimeoutExpired):
            asked = subprocess.run(
                [*command, *self.version_argv], capture_output=True, text=True, timeout=20
            )
            found = re.search(r"\d+\.\d+(?:\.\d+)?", asked.stdout + asked.stderr)
            return found.group() if found else None
        return None
