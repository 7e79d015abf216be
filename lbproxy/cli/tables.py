"""The console for tables: as wide as the terminal, wider if there is none."""

from __future__ import annotations

from rich.console import Console

# Columns if the table goes into a pipe or file; longer lines are folded.
PIPE_WIDTH = 200


def table_console() -> Console:
    """Return a console for standard output that colours nothing by itself."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=PIPE_WIDTH, highlight=False)
