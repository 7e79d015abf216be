"""Reads a configuration again: whole, and as far as can be told without using it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lbproxy.config.changes import differences
from lbproxy.config.findings import Severity
from lbproxy.config.read import load_config
from lbproxy.config.schema import Config
from lbproxy.control.reloading import ReloadOutcome
from lbproxy.proxy.plane import server_tls
from lbproxy.proxy.transport.tls import TlsError
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.state_place import state_place, with_state
from lbproxy.runtime.ticket_secrets import ticket_secrets

_log = logging.getLogger("lbproxy.process")


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """What was read. Args: config: None if it cannot be used; problems: errors, or warnings if it
    can, one a line."""

    config: Config | None
    problems: tuple[str, ...]


def read_again(path: Path, now: Config, environment: Mapping[str, str]) -> ReadAgain:
    """Return what a file says now. Args: now: the configuration that holds."""
    result = load_config(path)
    lines = tuple(str(problem) for problem in result.problems)
    config = result.config
    if config is None:
        errors = (each for each in result.problems if each.severity is Severity.ERROR)
        return ReadAgain(None, tuple(str(each) for each in errors))
    config = _with_state(config, path, now, environment)
    why = objection(config)
    if why is not None:
        return ReadAgain(None, (f"{path}: {why}",))
    return ReadAgain(config, lines)


def objection(config: Config) -> str | None:
    """Return why something that a configuration names cannot be used, None if all can."""
    try:
        server_tls(config)
        ticket_secrets(config, b"", True)
        affinity_keys(config)
        if config.access_log and config.access_log.path != "-":
            _try_to_append(config.access_log.path)
    except (TlsError, OSError) as error:
        return str(error)
    return None


def plan(before: Config, after: Config, *, alone: bool) -> tuple[Config, ReloadOutcome]:
    """Return what of a configuration can be followed in place, and what would change in words.

    Args: alone: this process is all there is, and stays it.
    """
    later: tuple[str, ...] = ()
    if alone and before.workers != after.workers:
        why = "takes a restart, because one process serves all"
        later = (f"workers {before.workers} -> {after.workers}: {why}",)
        after = after.model_copy(update={"workers": before.workers})
    return after, ReloadOutcome((*map(str, differences(before, after)), *later))


def tell_outcome(path: Path, outcome: ReloadOutcome) -> None:
    """Log what came of a reload."""
    for problem in outcome.problems:
        _log.error("not reloaded, the old configuration holds: %s", problem)
    if outcome.worked:
        for change in outcome.changes:
            _log.info("reloaded: %s", change)
        if not outcome.changes:
            _log.info("reloaded %s: nothing has changed but what files hold that it names", path)


def _with_state(config: Config, path: Path, now: Config, environment: Mapping[str, str]) -> Config:
    """Return the configuration with the usual place of its state, which we may hold already."""
    if config.state_file is not None:
        return config
    usual = state_place(environment, path)
    if now.state_file is False or now.state_file == (usual and str(usual)):
        return config.model_copy(update={"state_file": now.state_file})
    return with_state(config, path, environment)


def _try_to_append(path: str) -> None:
    """Raises: OSError that says of which file."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640))
    except OSError as error:
        raise OSError(f"access_log.path {path}: {error.strerror}") from None
