"""Where state is kept that nobody has named a file for, so that a drained node stays drained."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from lbproxy.config.schema import Config
from lbproxy.control.memory.file import StateError, StateFile

_log = logging.getLogger("lbproxy.state")


def state_place(environment: Mapping[str, str], config: Path) -> Path | None:
    """Return the usual place of this configuration's state, None if there is none.

    That is the folder that systemd made for the service, else the user's own for state.
    Args: config: the configuration; several of one user do not share a file.
    Source: systemd.exec(5), XDG Base Directory Specification.
    """
    given = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        return Path(given) / "state.json"
    folder = environment.get("XDG_STATE_HOME", "")
    if not folder.startswith("/"):  # a relative one must be ignored
        home = environment.get("HOME", "")
        if not home.startswith("/") or home == "/":
            return None
        folder = f"{home}/.local/state"
    digest = sha256(str(config.absolute()).encode()).hexdigest()[:12]
    return Path(folder) / "lbproxy" / f"{config.stem}-{digest}.json"


def with_state(config: Config, path: Path, environment: Mapping[str, str]) -> Config:
    """Return the configuration with the usual place if it names none, and say which it is.

    A place that cannot be used is said, and does without: nobody asked for it.
    """
    if config.state_file is not None:
        return config
    place = state_place(environment, path)
    reason = "there is no folder for it (STATE_DIRECTORY, XDG_STATE_HOME, HOME)"
    if place is not None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = StateFile(str(place))
            file.check()
            file.claim()
            file.release()
            return config.model_copy(update={"state_file": str(place)})
        except OSError as error:
            reason = f"{place.parent}: {error.strerror}"
        except StateError as error:
            reason = str(error)
    _log.warning(
        "nothing is kept over a restart, which enables every node again: %s; name a state_file, "
        "or write state_file: off",
        reason,
    )
    return config
