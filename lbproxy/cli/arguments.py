"""What all commands share: their place in the argument parser, and their exit codes."""

from __future__ import annotations

import argparse
from enum import IntEnum
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Exit(IntEnum):
    """Exit codes of every command."""

    FINE = 0
    CONFIGURATION = 1
    USAGE = 2
    COULD_NOT_BIND = 3
