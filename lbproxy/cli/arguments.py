"""What commands share: their place in the argument parser, exit codes, the form of log lines."""

from __future__ import annotations

import argparse
from enum import IntEnum
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Exit(IntEnum):
    """Exit codes of every command."""

    FINE = 0
    CONFIGURATION = 1
    USAGE = 2
    COULD_NOT_BIND = 3
