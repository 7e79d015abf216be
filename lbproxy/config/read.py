"""YAML text -> `Config`, or every error of the file at once, each with its line and column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from lbproxy.config.check_helpers import Known
from lbproxy.config.checks import check
from lbproxy.config.document import Document, read, read_file
from lbproxy.config.draft import Doubts, Mender, certain, unchanged
from lbproxy.config.findings import Finding, Problem, Severity, error, near, nearest
from lbproxy.config.messages import translated
from lbproxy.config.profiles import NAMES, load_profile, with_defaults
from lbproxy.config.schema import Config


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Args: config: None if any problem is an error; problems: in the file's order."""

    config: Config | None
    problems: tuple[Problem, ...]


def load_config(path: Path) -> LoadResult:
    """Return the configuration in a file. Never raises."""
    return _checked(read_file(path), path.absolute().parent)


def parse_config(text: str, file: str, base: Path) -> LoadResult:
    """Return the configuration in a text. Never raises.

    Args: file: what the problems call it; base: the absolute folder of relative file names.
    """
    return _checked(read(text, file), base)


def _checked(document: Document, base: Path) -> LoadResult:
    if not isinstance(document.data, dict):
        if not document.problems:
            document.report((), document.place(()), "must hold listeners, pools and routes")
        return LoadResult(None, tuple(document.problems))
    findings, config = _validate(document, document.data, base)
    problems = document.with_findings(findings)
    if any(problem.severity is Severity.ERROR for problem in problems):
        config = None
    return LoadResult(config, problems)


def _validate(
    document: Document, raw: dict[str, object], base: Path
) -> tuple[list[Finding], Config | None]:
    findings: list[Finding] = []
    doubts = Doubts()
    for path in document.unread:
        doubts.add(path)
    data = _with_defaults(raw, findings, doubts)
    context: dict[str, object] = {"base": base}
    listeners = _listeners(data)
    known = Known(
        listeners=[str(entry.get("name")) for entry in listeners],
        tls_listeners=[str(entry.get("name")) for entry in listeners if entry.get("tls")],
        pools=_mapping(data.get("pools")),
        doubtful=doubts.at,
        doubtful_within=doubts.within,
    )
    now = datetime.now(UTC)
    config: Config | None
    try:
        config = Config.model_validate(data, context=context)
    except ValidationError as problem:
        findings += (each for each in translated(problem) if each.path not in document.unread)
        mender = Mender(data, context, Config, doubts)
        config = mender.mended(problem)
        known = replace(known, doubtful=mender.at, doubtful_within=mender.within)
        original = mender.original
    else:
        original = unchanged
    if config is not None:
        findings += certain(check(config, known, now), doubts, original)
    return findings, config


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _listeners(data: dict[str, object]) -> list[dict[str, object]]:
    listeners = data.get("listeners")
    return [_mapping(entry) for entry in listeners] if isinstance(listeners, list) else []


def _with_defaults(
    raw: dict[str, object], findings: list[Finding], doubts: Doubts
) -> dict[str, object]:
    """Return the data with each pool's profile below the pool's own keys.

    A pool of an unknown profile gets the profile that was likely meant. Nodes that join by mcmp
    report a load; their pool follows it unless the file says otherwise.
    """
    pools = raw.get("pools")
    if not isinstance(pools, dict):
        return raw
    joined = _mapping(raw.get("mcmp")).get("pool")
    merged: dict[str, object] = {}
    for name, pool in pools.items():
        merged[name] = pool
        if not isinstance(pool, dict):
            continue
        profile = pool.get("profile", "generic")
        reported = {"balance": "load"} if name == joined else {}
        if isinstance(profile, str) and profile not in NAMES:
            hint = nearest(profile, NAMES)
            message = f"there is no such profile{hint} (profiles: {', '.join(NAMES)})"
            findings.append(error(("pools", name, "profile"), message))
            doubts.add(("pools", name, "profile"))
            profile = near(profile, NAMES) or "generic"
            pool = {**pool, "profile": profile}
        if profile in NAMES:
            defaults = {**load_profile(profile).defaults, **reported}
            merged[name] = with_defaults(defaults, pool)
    return {**raw, "pools": merged}
