"""The node's side of an exchange, as a role: how a request reaches the node, and its answer us.

Exchange and upstream are two ends of one talk, so each knows the other: the upstream calls `asked`,
`respond`, `body` and the like, the exchange these methods. `upstream/http1` and `upstream/ajp` play
the role on a connection of one exchange at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbproxy.errors import Failure
    from lbproxy.proxy.exchange.exchange import Exchange


class Upstream:
    """One node as an exchange sees it."""

    def begin(self, exchange: Exchange) -> None:
        """Serve `exchange`: send its head, as this protocol renders it, and what came of its
        body."""
        raise NotImplementedError

    def send_body(self, payload: bytes, last: bool) -> None:
        """Pass on a piece of the request's body.

        Args: payload: without framing, empty only if `last`; last: the body ends with it.
        """
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send bytes of a tunnel."""
        raise NotImplementedError

    def pause(self) -> None:
        """Read no more of the answer: the client is slower than the node."""
        raise NotImplementedError

    def resume(self) -> None:
        """Read the answer again."""
        raise NotImplementedError

    def finish(self, exchange: Exchange) -> None:
        """The exchange is over, and nothing went wrong: the node may serve another one."""
        raise NotImplementedError

    def close(self) -> None:
        """The exchange is over: end what serves it, but send what waits."""
        raise NotImplementedError

    def abort(self) -> None:
        """The exchange is over: end what serves it at once, so that nothing looks complete."""
        raise NotImplementedError

    def fail(self, exchange: Exchange, failure: Failure, detail: str) -> None:
        """End what serves the exchange, and the exchange with a failure. Args: detail: for the
        log."""
        self.abort()
        exchange.fail(failure, detail)
