"""What the log says of exchanges that are cut off when a worker ends."""

from __future__ import annotations

from collections.abc import Sequence

from lbproxy.proxy.access_log import masked
from lbproxy.proxy.record import Record

_SHOWN = 5  # exchanges that are named
_PATH_SHOWN = 200  # bytes of each


def tell_cut(exchanges: Sequence[Record], now: float) -> str:
    """Return what is cut off at the end, the oldest first; no more than a line holds, and no secret
    of a path."""
    oldest = sorted(exchanges, key=lambda each: each.started)[:_SHOWN]
    texts = [
        f"{each.head.method.decode()} {masked(each.head.path)[:_PATH_SHOWN].decode('latin-1')}"
        f" at {'no node' if each.link is None else each.link.name}, {now - each.started:.0f} s"
        for each in oldest
    ]
    if len(exchanges) > _SHOWN:
        texts.append("...")
    many = "exchange" if len(exchanges) == 1 else "exchanges"
    return f"{len(exchanges)} {many} cut off: {'; '.join(texts)}"
