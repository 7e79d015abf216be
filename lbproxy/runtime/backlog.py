"""How many clients may wait to be accepted, and what the kernel makes of that."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


def capped_backlog(backlog: int, somaxconn: Path = _SOMAXCONN) -> str | None:
    """Return a warning if the kernel keeps fewer clients waiting than the configuration says.

    Args: somaxconn: the file that holds its bound; where it cannot be read nothing is said.
    Source: listen(2).
    """
    with suppress(OSError, ValueError):
        most = int(somaxconn.read_text())
        if most < backlog:
            return (
                f"limits.backlog of {backlog}: the kernel lets {most} clients wait for a listener; "
                f"raise it with `sysctl net.core.somaxconn={backlog}`, or lower the limit"
            )
    return None
