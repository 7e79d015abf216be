"""Processes that serve clients seldom look for garbage."""

from __future__ import annotations

import subprocess
import sys

TRY = """
import gc
from lbproxy.runtime.collector import quiet_collector
first, *others = gc.get_threshold()
quiet_collector()
assert gc.isenabled()
assert gc.get_freeze_count() > 1000
assert gc.get_threshold()[0] > 10 * first
assert [*gc.get_threshold()[1:]] == others
"""


def test_what_lives_is_forgotten_and_what_comes_is_looked_at_seldom() -> None:
    subprocess.run([sys.executable, "-c", TRY], check=True, timeout=60)
