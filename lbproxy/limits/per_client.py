"""Who a client is, and how many connections each has open.

A client is an IPv4 address or an IPv6 /64, as one subscriber gets it: by single IPv6 addresses
anyone could have as many limits as they like. Only clients with open connections are remembered, so
the connection limit of the worker bounds the memory.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbproxy.limits.board import Sketch


def client_key(address: str) -> str | int:
    """Return the key under which connections from `address` are counted.

    Args: address: literal; text that is no IPv6 address is its own key.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return int(parsed) >> 64


class PerClient:
    """Open connections by client.

    Args: limit: the most that one client may have, with all workers; sketch: by which the others'
    are estimated, None if there are no others. Those of this worker are counted exactly.
    """

    def __init__(self, limit: int, sketch: Sketch | None = None) -> None:
        self._limit = limit
        self._sketch = sketch
        self._open: dict[str | int, int] = {}

    def follow(self, limit: int) -> None:
        """Have another limit from now on; connections beyond it stay."""
        self._limit = limit

    def admit(self, address: str) -> bool:
        """Count one connection more, or return False if the client has enough.

        An admitted connection is to be released; an empty address (a Unix socket) is not counted.
        """
        if not address:
            return True
        key = client_key(address)
        count = self._open.get(key, 0)
        if count >= self._limit:
            return False
        sketch = self._sketch
        if sketch is not None:
            mark = sketch.mark(_name(key))
            if count + sketch.elsewhere(mark) >= self._limit:
                return False
            sketch.add(mark, 1)
        self._open[key] = count + 1
        return True

    def release(self, address: str) -> None:
        """Count one connection less. Args: address: as it was admitted."""
        if not address:
            return
        key = client_key(address)
        count = self._open[key] - 1
        if count:
            self._open[key] = count
        else:
            del self._open[key]
        if self._sketch is not None:
            self._sketch.add(self._sketch.mark(_name(key)), -1)

    def __len__(self) -> int:
        """Return how many clients have connections."""
        return len(self._open)


def _name(key: str | int) -> bytes:
    return key.encode() if isinstance(key, str) else key.to_bytes(8, "big")
