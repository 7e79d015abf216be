"""Why an address cannot be listened on, in words that say what to do."""

from __future__ import annotations

import errno

from lbproxy.config.addresses import Bind


def why_not_bound(bind: Bind, error: OSError) -> str:
    """Return the cause of an error on opening a listening socket."""
    match error.errno:
        case errno.EADDRINUSE:
            shown = "ss -lxp" if bind.path else "ss -ltnp"
            return f"it is in use; stop what listens there (see `{shown}`) or change the bind"
        case errno.EACCES if not bind.path:
            return (
                "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE, "
                "as the systemd unit grants it"
            )
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; see `ip address`"
        case _:
            return error.strerror or str(error)
