"""What the nodes are made of: from Maven Central by name, kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

FETCH_S = 600


class Missing(Exception):
    """Something that these tests need is not on this machine; says what, and what to do."""


def cache() -> Path:
    """Return the folder outside of the checkout that holds what was fetched."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("LBPROXY_E2E_CACHE") or Path(base) / "lbproxy-e2e")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tool(name: str) -> str:
    """Return the path of a program. Raises: Missing."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"no {name} here: install a JDK 17 or later and Maven")
    return found


def fetch(artifact: str) -> Path:
    """Return the file of a Maven artifact, `group:name:version[:type]`. Raises: Missing."""
    _, name, version, *kind = artifact.split(":")
    target = cache() / f"{name}-{version}.{kind[0] if kind else 'jar'}"
    if target.exists():
        return target
    maven = tool("mvn")
    tool("java")
    ran = subprocess.run(
        [
            *(maven, "-q", "-B", "dependency:copy"),
            *(f"-Dartifact={artifact}", f"-DoutputDirectory={cache()}"),
        ],
        cwd=cache(),
        capture_output=True,
        text=True,
        timeout=FETCH_S,
        check=False,
    )
    if ran.returncode or not target.exists():
        raise Missing(f"Maven could not fetch {artifact}: {(ran.stdout + ran.stderr)[-300:]}")
    return target


def unpacked(archive: Path, folder: str, prepare: Callable[[Path], None], recipe: str = "") -> Path:
    """Return the folder that a zip archive holds, unpacked and prepared once.

    Args: folder: its top folder's name; prepare: called with the folder before its first use;
    recipe: what it is prepared by, so that another recipe makes another folder.
    """
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:10]
    home = archive.parent / (f"{folder}-{digest}" if recipe else folder)
    if not home.exists():
        making = archive.parent / f"{home.name}.making"
        shutil.rmtree(making, ignore_errors=True)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(making)
        prepare(making / folder)
        (making / folder).rename(home)
        shutil.rmtree(making)
    return home
