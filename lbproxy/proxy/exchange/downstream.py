"""The client's side of an exchange, as a role: who asked, and how the answer reaches it.

An exchange knows no protocol of its client. `downstream/http1` plays the role on a connection of
HTTP/1.1, one request after the other; a protocol with streams plays it once for each stream.
"""

from __future__ import annotations

from lbproxy.proxy.answers import OwnAnswer
from lbproxy.wire.ajp13_request import Facts
from lbproxy.wire.http1_response import ResponseHead


class Downstream:
    """One client as an exchange sees it.

    Attributes: write_paused: the client reads slower than it is written to.
    """

    def __init__(self) -> None:
        self.write_paused: bool = False

    def facts(self) -> Facts:
        """Return what a node is told over AJP of who asks."""
        raise NotImplementedError

    def respond(self, head: ResponseHead, payload: bytes, complete: bool) -> None:
        """Send the head of the node's answer, and what is there of its body.

        Args: payload: without framing; complete: the answer ends with it.
        """
        raise NotImplementedError

    def body(self, payload: bytes, complete: bool) -> None:
        """Send a piece of the answer's body. Args: as `respond`; payload may be empty."""
        raise NotImplementedError

    def interim(self, head: ResponseHead | None) -> None:
        """Send an interim answer (1xx). Args: head: None for a 100 (Continue) of our own."""
        raise NotImplementedError

    def tunnel(self, head: ResponseHead) -> None:
        """Send a 101: from here on bytes pass as they are, by `exchange.tunnel_up` and `write`."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send bytes of a tunnel."""
        raise NotImplementedError

    def answer(self, answer: OwnAnswer) -> None:
        """Send a whole answer of our own."""
        raise NotImplementedError

    def cut(self) -> None:
        """End the answer so that it does not look complete."""
        raise NotImplementedError

    def hold(self, why: int) -> None:
        """Read no more of the request's body. Args: why: a reason of `pipe`."""
        raise NotImplementedError

    def go_on(self, why: int) -> None:
        """This reason not to read the request's body is gone."""
        raise NotImplementedError

    def moved(self) -> bool:
        """Return True if the client has read some of what waited since this was last asked."""
        raise NotImplementedError

    def finish(self) -> None:
        """Send no more once what was sent has left; the client may send no more either."""
        raise NotImplementedError

    def over(self) -> None:
        """The exchange has ended, and its answer was sent whole."""
        raise NotImplementedError
