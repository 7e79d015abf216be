"""An agent's YAML text -> `AgentConfig`, or every error of the file, each with line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_checks import check
from lbproxy.config.check_helpers import Known
from lbproxy.config.document import Document, read, read_file
from lbproxy.config.draft import Doubts, Mender, certain, unchanged
from lbproxy.config.findings import Finding, Path, Problem, Severity, error, near, nearest
from lbproxy.config.messages import translated
from lbproxy.config.profiles import NAMES, load_profile, with_defaults

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
# By these keys the profile says where a page is. A file that gives the whole url needs none.
_PLACE = ("path", "port", "scheme")


@dataclass(frozen=True, slots=True)
class AgentLoadResult:
    """Args: config: None if any problem is an error; problems: in the file's order."""

    config: AgentConfig | None
    problems: tuple[Problem, ...]


def load_agent_config(path: FilePath, environment: Mapping[str, str]) -> AgentLoadResult:
    """Return the configuration in a file. Never raises.

    Args: environment: holds the values for `${NAME}` in the file.
    """
    return _checked(read_file(path), path.absolute().parent, environment)


def parse_agent_config(
    text: str, file: str, base: FilePath, environment: Mapping[str, str]
) -> AgentLoadResult:
    """Return the configuration in a text. Never raises.

    Args: file: what the problems call it; base: the absolute folder of relative file names.
    """
    return _checked(read(text, file), base, environment)


def _checked(document: Document, base: FilePath, environment: Mapping[str, str]) -> AgentLoadResult:
    if not isinstance(document.data, dict):
        if not document.problems:
            document.report((), document.place(()), "must hold node and proxies")
        return AgentLoadResult(None, tuple(document.problems))
    findings: list[Finding] = []
    data = _filled_in(document.data, (), environment, findings)
    assert isinstance(data, dict), "as it was"
    findings += _page_twice(data)
    doubts = Doubts()
    # Nobody knows the value that an unset variable was to give.
    for path in (*document.unread, *(finding.path for finding in findings)):
        doubts.add(path)
    data = _with_profile(data, findings, doubts)
    context: dict[str, object] = {"base": base}
    known, original = Known(doubtful=doubts.at, doubtful_within=doubts.within), unchanged
    config: AgentConfig | None
    try:
        config = AgentConfig.model_validate(data, context=context)
    except ValidationError as problem:
        faults = translated(problem, AgentConfig)
        findings += (each for each in faults if each.path not in document.unread)
        mender = Mender(data, context, AgentConfig, doubts)
        config = mender.mended(problem)
        known = Known(doubtful=mender.at, doubtful_within=mender.within)
        original = mender.original
    if config is not None:
        findings += certain(check(config, environment, known), doubts, original)
    problems = document.with_findings(findings)
    if any(problem.severity is Severity.ERROR for problem in problems):
        config = None
    return AgentLoadResult(config, problems)


def _filled_in(
    data: object, path: Path, environment: Mapping[str, str], findings: list[Finding]
) -> object:
    """Return the data with `${NAME}` in its texts replaced."""
    if isinstance(data, dict):
        return {
            key: _filled_in(value, (*path, key), environment, findings)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [
            _filled_in(value, (*path, index), environment, findings)
            for index, value in enumerate(data)
        ]
    if not isinstance(data, str):
        return data

    def value_of(match: re.Match[str]) -> str:
        value = environment.get(match[1])
        if not value:
            findings.append(error(path, f"there is no environment variable {match[1]!r}"))
        # This text is valid in every place that takes a name, so there is only one complaint.
        return value or "unknown"

    return _VARIABLE.sub(value_of, data)


def _section(data: object, *keys: str) -> dict[str, object]:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _page_twice(data: dict[str, object]) -> Iterator[Finding]:
    health = _section(data, "node", "health")
    if health.get("url") is not None:
        for key in _PLACE:
            if health.get(key) is not None:
                yield error(("node", "health", key), "has no effect: url says the whole page")


def _with_profile(
    data: dict[str, object], findings: list[Finding], doubts: Doubts
) -> dict[str, object]:
    """Return the data with the profile's defaults for a node added."""
    name = data.get("profile", "generic")
    node = data.get("node")
    if isinstance(name, str) and name not in NAMES:
        hint = nearest(name, NAMES)
        message = f"there is no such profile{hint} (profiles: {', '.join(NAMES)})"
        findings.append(error(("profile",), message))
        doubts.add(("profile",))
        name = near(name, NAMES) or "generic"
    if name not in NAMES or not isinstance(node, dict):
        return data
    pool = load_profile(str(name)).defaults
    own = _section(node, "health")
    health = {
        key: value
        for key, value in _section(pool, "health").items()
        if key not in _PLACE or own.get("url") is None
    }
    defaults: dict[str, object] = {"health": health} if health else {}
    sticky = _section(pool, "sticky")
    if "route" in _list(sticky.get("by")):
        defaults["session_cookie"] = sticky.get("cookie")
    return {**data, "node": with_defaults(defaults, node)}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
