"""A connection to a node, apart from what speaks on it."""

from __future__ import annotations

import gc
import weakref

from lbproxy.proxy.nodes.connection import Connection


class Speaking:
    def __init__(self) -> None:
        self.connection = Connection(self, secure=False)

    def ping_failed(self) -> None:
        raise AssertionError


def test_a_lost_connection_is_freed_at_once() -> None:
    """Not by the collector of garbage: under failures there is one of them a request."""
    speaker = Speaking()
    left = weakref.ref(speaker)
    gc.disable()
    try:
        speaker.connection.lost()
        del speaker
        assert left() is None
    finally:
        gc.enable()
