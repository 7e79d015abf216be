"""A new connection to a node, with what speaks its protocol on it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from lbproxy.errors import ConnectError, Failure
from lbproxy.proxy.nodes.connection import Speaker

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.nodes.link import Link

_log = logging.getLogger("lbproxy.worker")


async def connect(desk: Desk, link: Link) -> Speaker:
    """Return what speaks with the node of `link` on a new connection.

    Raises: ConnectError: nothing was sent.
    """
    try:
        speaker = await link.connect(
            lambda: cast(Speaker, desk.make_upstream(desk, link)), link.connect_timeout
        )
    except ConnectError:
        raise
    except Exception:
        _log.exception("a fault of lbproxy while connecting to %s", link.name)
        raise ConnectError(Failure.CONNECT_FAILED, "a fault of lbproxy") from None
    if not speaker.connection.alive():
        # Ended, or spoken on unasked, before this task had its turn.
        raise ConnectError(Failure.UPSTREAM_RESET, "closed the new connection at once")
    return speaker
