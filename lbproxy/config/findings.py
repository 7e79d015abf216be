"""What several checks ask: values given twice, addresses of this machine, secrets that are none."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from lbproxy.config.problems import Finding, Path, error

# Guessed at a thousand tries a second, 16 letters last longer than the process.
MIN_TOKEN_CHARACTERS = 16


def duplicates(entries: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    """Yield an error for each value that an earlier entry has already."""
    first: dict[str, Path] = {}
    for path, value in entries:
        earlier = first.setdefault(value, path)
        if earlier is not path:
            yield error(path, f"{value!r} is taken by", earlier)


def is_loopback(host: str) -> bool:
    """Return True for a loopback address, or the name that stands for one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_token(token: bytes, path: Path) -> Iterator[Finding]:
    """Yield an error for a token that could be guessed. Args: token: what its file holds."""
    if len(token.strip()) < MIN_TOKEN_CHARACTERS:
        yield error(
            path,
            f"holds less than {MIN_TOKEN_CHARACTERS} characters; make one with: "
            "openssl rand -hex 32",
        )
