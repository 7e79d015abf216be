"""The conversations hold in both forms: they run once more on the sources alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("exchange", "downstream", "upstream", "nodes", "transport", "")
# No conversations, and slow: many examples, real handshakes.
LEFT_OUT = ("nodes/test_pool.py", "transport/test_tls.py")
BOUND_S = 55.0


@pytest.mark.parametrize("folder", FOLDERS)
def test_uncompiled(folder: str) -> None:
    here = Path(__file__).parent
    paths = [here / folder]
    if not folder:
        paths = [here / "test_desk.py", here / "test_rules.py", here / "test_worker.py"]
    options = ["-n0", "-p", "no:cacheprovider", "-p", "tests.proxy.plain_round"]
    options += [f"--ignore={here / name}" for name in LEFT_OUT]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=BOUND_S,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
