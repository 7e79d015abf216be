"""Checks that several modules share: values given twice, stars, status codes, short secrets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from lbproxy.config.findings import Finding, Path, error, warning
from lbproxy.config.units import parse_codes

# Guessed at a thousand tries a second, 16 letters last longer than the process.
MIN_TOKEN_CHARACTERS = 16


def _never(path: Path) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Known:
    """The reliable part of a file, some of whose values may be missing or wrong.

    Args: listeners, pools: names that it gives, even those of invalid sections; tls_listeners:
    those that have a tls section, good or not; doubtful: tells whether the value at a path, or a
    section that holds it, may not be what the file means; doubtful_within: the same of anything at
    a path or below it. No finding may rest on a doubtful value, except on the one at its own path:
    `draft.certain` drops those findings.
    """

    listeners: Collection[str] = ()
    tls_listeners: Collection[str] = ()
    pools: Collection[str] = ()
    doubtful: Callable[[Path], bool] = _never
    doubtful_within: Callable[[Path], bool] = _never

    def any_doubtful(self, *paths: Path) -> bool:
        """Return True if one of the values is doubtful."""
        return any(map(self.doubtful, paths))


def duplicates(entries: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    """Yield an error for each value that an earlier entry has already."""
    first: dict[str, Path] = {}
    for path, value in entries:
        earlier = first.setdefault(value, path)
        if earlier is not path:
            yield error(path, f"{value!r} is taken by", earlier)


def no_wildcard(prefix: str, path: Path) -> Iterator[Finding]:
    """Yield a warning for a path with a star, by which other products mean everything below it."""
    if "*" in prefix:
        plain = prefix.partition("*")[0]
        yield warning(
            path,
            f"a star is no wildcard here; {plain or '/'} is the path and all below it",
        )


def check_codes(expect: str, soft: str, known: Known, path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the status codes of a health section. Args: path: of the section."""
    if not parse_codes(expect):
        yield error((*path, "expect"), "must name at least one status code")
    both = parse_codes(expect) & parse_codes(soft)
    if both and not known.doubtful((*path, "expect")):
        yield error((*path, "soft"), f"{min(both)} is in expect as well; a code means one thing")


def check_token(token: bytes, path: Path) -> Iterator[Finding]:
    """Yield an error for a token that could be guessed. Args: token: what its file holds."""
    if len(token.strip()) < MIN_TOKEN_CHARACTERS:
        yield error(
            path,
            f"holds less than {MIN_TOKEN_CHARACTERS} characters; make one with: "
            "openssl rand -hex 32",
        )
