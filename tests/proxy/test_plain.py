"""The conversations hold in both forms: they run once more on the sources alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TALKS = (
    *("exchange", "downstream", "upstream", "nodes", "transport"),
    *("test_desk.py", "test_rules.py", "test_worker.py"),
)
# No conversations, and slow: many examples, real handshakes.
LEFT_OUT = (
    "nodes/test_pool.py",
    *(f"transport/{name}.py" for name in ("test_tls", "test_tls_nodes", "test_tls_reload")),
)
BOUND_S = 110.0


@pytest.mark.timeout(BOUND_S + 10.0)
def test_the_conversations_hold_uncompiled() -> None:
    options = ["-n0", "-p", "no:cacheprovider", "-p", "tests.proxy.plain_round"]
    options += [f"--ignore={HERE / name}" for name in LEFT_OUT]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(str(HERE / name) for name in TALKS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=BOUND_S,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
