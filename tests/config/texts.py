"""A good configuration, and what is said of one."""

from __future__ import annotations

from pathlib import Path

from lbproxy.config.read import LoadResult, parse_config
from lbproxy.config.schema import Config

GOOD = """\
listeners:
  - {name: http, bind: "127.0.0.1:8080"}
pools:
  idp:
    nodes:
      - {name: node1, url: "http://10.0.0.1:9011"}
      - {name: node2, url: "http://10.0.0.2:9011"}
routes:
  - {pool: idp}
"""


def load(text: str, base: Path = Path("/nowhere")) -> LoadResult:
    return parse_config(text, "x.yaml", base)


def said(text: str, base: Path = Path("/nowhere")) -> list[str]:
    return [str(problem) for problem in load(text, base).problems]


def good(text: str = GOOD, base: Path = Path("/nowhere")) -> Config:
    result = load(text, base)
    assert result.problems == ()
    assert result.config is not None
    return result.config


def pool(text: str) -> str:
    """Return a good configuration whose pool says `text` as well, from line 5 on."""
    return GOOD.replace("    nodes:", f"    {text}\n    nodes:")
