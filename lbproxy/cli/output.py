"""All output of commands goes through here: nothing from outside reaches a terminal raw.

Other modules of this package build no `Text` and call no `print`; a test holds them to it. rich
would read a plain string as its markup, so everything shown is a `Text`.
"""

from __future__ import annotations

import json
import logging
import sys

from rich.text import Text

from lbproxy.terminal import LogFormatter, shown

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def text(*parts: str | tuple[str, str], style: str = "") -> Text:
    """Return a line of parts, each a text or a text with its style."""
    line = Text(style=style)
    for part in parts:
        words, own = (part, "") if isinstance(part, str) else part
        line.append(shown(words), own or None)
    return line


def lines(texts: list[str]) -> Text:
    """Return several lines."""
    return Text("\n").join([text(each) for each in texts])


def tell(words: str) -> None:
    """Print one line on standard output, at once."""
    print(shown(words), flush=True)


def complain(command: str, words: str) -> None:
    """Print on standard error, in one line, why a command did not work."""
    print(shown(f"{command}: {words}"), file=sys.stderr)


def tell_json(document: object) -> None:
    """Print a document for programs: ASCII without control characters."""
    print(json.dumps(document, indent=2).replace("\x7f", "\\u007f"))


def start_logging(level: str) -> None:
    """Log to standard error from now on. Args: level: such as info."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(_LOG_FORMAT))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
