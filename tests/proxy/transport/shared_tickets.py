"""Whether the tests of shared session tickets can run with this Python."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

_TRY = (
    "from lbproxy.runtime.supervisor.ticket_trial import ticket_keys_work as works\n"
    "raise SystemExit(0 if works() else 3)"
)


@cache
def can_set_tickets() -> bool:
    """Return what a trial finds, in a process of its own: it may die, and forks."""
    ran = subprocess.run([sys.executable, "-c", _TRY], check=False, timeout=60)
    assert ran.returncode in (0, 3)
    return ran.returncode == 0
