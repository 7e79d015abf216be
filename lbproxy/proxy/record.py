"""What is counted and logged of one request, whatever becomes of it."""

from __future__ import annotations

from lbproxy.cluster.sticky import N_RESULTS, RESULT_NAMES, STEP_NAMES
from lbproxy.proxy.forwarding.asker import Asker
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.wire.request_head import RequestHead

# What the access log says of affinity, by step and result: `route:owner`.
STICKY_LABELS = tuple(f"{step}:{result}" for step in STEP_NAMES for result in RESULT_NAMES)
_RESULTS = N_RESULTS


class Record:
    """The record of one request.

    Args: asker; head: as parsed; an empty one if no head could be; started: monotonic seconds;
    request_id.

    Attributes: pool, link: that served it or failed last, None if there was none; upstream_s:
    seconds from the request's sending to the answer's beginning, negative if none came; step,
    result: of affinity, negative if none was looked for; retries: how often it was sent again;
    queued_s: how long it waited for a node; reason: why it failed, "" if it did not.
    """

    def __init__(self, asker: Asker, head: RequestHead, started: float, request_id: bytes) -> None:
        self.begin_record(asker, head, started, request_id)

    def begin_record(
        self, asker: Asker, head: RequestHead, started: float, request_id: bytes
    ) -> None:
        """Set everything. (A compiled subclass calls this; its `super()` would cost a look-up.)"""
        self.asker = asker
        self.head = head
        self.started: float = started
        self.request_id: bytes = request_id
        self.pool: Pool | None = None
        self.link: Link | None = None
        self.upstream_s: float = -1.0
        self.status: int = 0
        self.bytes_in: int = 0
        self.bytes_out: int = 0
        self.step: int = -1
        self.result: int = -1
        self.retries: int = 0
        self.queued_s: float = 0.0
        self.reason: str = ""

    def sticky(self) -> str:
        """Return how affinity found the node, such as `route:owner`; "" if it was not asked."""
        return "" if self.step < 0 else STICKY_LABELS[self.step * _RESULTS + self.result]
