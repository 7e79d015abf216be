"""The readings of one request's path: routes, hidden paths and contexts all ask for them."""

from __future__ import annotations

from lbproxy.routing.paths import DoubtfulPath, readings
from lbproxy.wire.request_head import RequestHead

_ROOT = (b"/",)


def readings_of(head: RequestHead) -> tuple[bytes, ...]:
    """Return the readings of a request's path, worked out once. Raises: DoubtfulPath."""
    ways = head.readings
    if ways is None:
        if head.path == b"*":
            ways = _ROOT
        else:
            try:
                ways = readings(head.path)
            except DoubtfulPath:
                head.readings = ()
                raise
        head.readings = ways
    elif not ways:
        raise DoubtfulPath("as was found before")
    return ways
