"""YAML text -> `Config`, or every error of the file at once, each with its line and column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from lbproxy.config.checks import Names, check
from lbproxy.config.document import MAX_BYTES, Document, read
from lbproxy.config.draft import Cutter
from lbproxy.config.messages import translated
from lbproxy.config.problems import Finding, Problem, Severity, error, nearest, written
from lbproxy.config.profiles import NAMES, load_profile, with_defaults
from lbproxy.config.schema import Config


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Args: config: None if any problem is an error; problems: in the file's order."""

    config: Config | None
    problems: tuple[Problem, ...]


def load_config(path: Path) -> LoadResult:
    """Return the configuration in a file. Never raises."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        return _unreadable(file, 1, 1, f"cannot be read: {problem.strerror}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = content[: problem.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        return _unreadable(file, before.count(b"\n") + 1, column, "is not UTF-8 text")
    return parse_config(text, file, path.absolute().parent)


def _unreadable(file: str, line: int, column: int, message: str) -> LoadResult:
    return LoadResult(None, (Problem(Severity.ERROR, file, line, column, "", message),))


def parse_config(text: str, file: str, base: Path) -> LoadResult:
    """Return the configuration in a text. Never raises.

    Args: file: what the problems call it; base: absolute, where relative file names start.
    """
    document = read(text, file)
    if not isinstance(document.data, dict):
        if not document.problems:
            document.report((), document.place(()), "must hold listeners, pools and routes")
        return LoadResult(None, tuple(document.problems))
    findings, config = _validate(document.data, base)
    problems = sorted(
        {*document.problems, *_located(document, findings)},
        key=lambda p: (p.line, p.column, p.path),
    )
    if any(problem.severity is Severity.ERROR for problem in problems):
        config = None
    return LoadResult(config, tuple(problems))


def _validate(raw: dict[str, object], base: Path) -> tuple[list[Finding], Config | None]:
    findings: list[Finding] = []
    data = _with_profiles(raw, findings)
    context: dict[str, object] = {"base": base}
    listeners = _listeners(data)
    names = Names(
        listeners=[str(entry.get("name")) for entry in listeners],
        tls_listeners=[str(entry.get("name")) for entry in listeners if entry.get("tls")],
        pools=_mapping(data.get("pools")),
    )
    now = datetime.now(UTC)
    try:
        config = Config.model_validate(data, context=context)
    except ValidationError as problem:
        findings += translated(problem)
        cutter = Cutter(data, context)
        rest = cutter.valid_rest(problem)
        for finding in check(rest, names, now) if rest is not None else ():
            path = cutter.original(finding.path)
            other = cutter.original(finding.other) if finding.other is not None else None
            if not cutter.doubtful(path) and not (other and cutter.doubtful(other)):
                findings.append(replace(finding, path=path, other=other))
        return findings, None
    return [*findings, *check(config, names, now)], config


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _listeners(data: dict[str, object]) -> list[dict[str, object]]:
    listeners = data.get("listeners")
    return [_mapping(entry) for entry in listeners] if isinstance(listeners, list) else []


def _with_profiles(raw: dict[str, object], findings: list[Finding]) -> dict[str, object]:
    """Return the data with each pool's profile below the pool's own keys."""
    pools = raw.get("pools")
    if not isinstance(pools, dict):
        return raw
    merged: dict[str, object] = {}
    for name, pool in pools.items():
        merged[name] = pool
        if not isinstance(pool, dict):
            continue
        profile = pool.get("profile", "generic")
        if profile in NAMES:
            merged[name] = with_defaults(load_profile(profile).defaults, pool)
        elif isinstance(profile, str):
            hint = nearest(profile, NAMES)
            message = f"there is no such profile{hint} (profiles: {', '.join(NAMES)})"
            findings.append(error(("pools", name, "profile"), message))
            # The rest of the pool is looked at as if it named none.
            merged[name] = {**pool, "profile": "generic"}
    return {**raw, "pools": merged}


def _located(document: Document, findings: Iterable[Finding]) -> Iterable[Problem]:
    for finding in findings:
        mark = document.place(finding.path, key=finding.at_key)
        yield Problem(
            finding.severity,
            document.file,
            mark.line,
            mark.column,
            written(finding.path),
            finding.message
            if finding.other is None
            else f"{finding.message} {written(finding.other)}",
        )
