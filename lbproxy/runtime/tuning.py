"""What listening sockets are told: their queue, keep-alive, and whose clients they take.

Connections that stand already are not concerned. Clients take over what their listening socket was
told, at no cost.
"""

from __future__ import annotations

import logging
import socket

from lbproxy.config.schema import Config, ListenerTcpSettings
from lbproxy.runtime.cores import core_of
from lbproxy.runtime.sockets import Sockets
from lbproxy.runtime.spreading import is_shared, spread
from lbproxy.tcp import TcpOptions

_CLOSED = -1  # instead of a descriptor

_log = logging.getLogger("lbproxy.process")


def tune(sockets: Sockets, config: Config, before: Config | None = None) -> None:
    """Have listening sockets do what a configuration says of them.

    To be called in a process that may use every core that workers do. Says so if the kernel
    refuses; never raises.

    Args: before: the configuration that they do what is said of now, None if they are new.
    """
    for listener in config.listeners:
        members = sockets.listeners[listener.name]
        if any(sock.fileno() == _CLOSED for sock in members):
            continue  # it drains
        try:
            for sock in members:
                _client_options(listener.tcp).set_on(sock)
                sock.listen(config.limits.backlog)
            if sock.family != socket.AF_UNIX and is_shared(sock):
                if _steers(config):
                    spread(sock, len(members), [core_of(place) for place in range(len(members))])
                elif before is not None and _steers(before):
                    spread(sock, len(members))
        except OSError as error:
            _log.warning("listener %s: an option was refused: %s", listener.name, error.strerror)


def _steers(config: Config) -> bool:
    return config.steer_by_core and config.pin_workers


def _client_options(settings: ListenerTcpSettings) -> TcpOptions:
    return TcpOptions(
        float(settings.user_timeout),
        float(settings.keepalive_idle),
        settings.keepalive_interval,
        settings.keepalive_count,
    )
