"""`lbproxy schema`: the JSON Schema by which editors check and complete a configuration."""

from __future__ import annotations

import argparse
import sys

from lbproxy.cli.arguments import Exit, Subparsers
from lbproxy.config.reference import json_schema_text


def add_parser(subparsers: Subparsers) -> None:
    """Register `schema`."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of the configuration",
        description="Print the JSON Schema of the configuration, for editors.",
    )
    parser.set_defaults(func=print_schema)


def print_schema(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    sys.stdout.write(json_schema_text())
    return Exit.FINE
