"""Shared by commands: their place in the argument parser, common options, exit codes."""

from __future__ import annotations

import argparse
import os
import re
from enum import IntEnum
from typing import TypeAlias

from lbproxy.config.units import parse_duration

_BARE = re.compile(r"[0-9]+(\.[0-9]+)?")

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


# The address of the admin API if no option gives one.
ADMIN_VARIABLE = "LBPROXY_ADMIN"


def add_admin(parser: argparse.ArgumentParser, about: str, default: str | None) -> None:
    """Register --admin and --token-file. Args: default: if LBPROXY_ADMIN is not set either."""
    parser.add_argument(
        "--admin",
        default=os.environ.get(ADMIN_VARIABLE) or default,
        metavar="ADDRESS",
        help=f"{about} (also by {ADMIN_VARIABLE})",
    )
    parser.add_argument("--token-file", metavar="FILE", help="file with the admin API's token")


def duration(text: str) -> float:
    """Return seconds of text such as `90s` or `5m`; a bare number is seconds."""
    try:
        return parse_duration(f"{text}s" if _BARE.fullmatch(text) else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


class Exit(IntEnum):
    """Exit codes of every command."""

    FINE = 0
    CONFIGURATION = 1
    USAGE = 2
    COULD_NOT_BIND = 3
    NO_WORKER_LIVES = 4
