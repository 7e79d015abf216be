"""The data plane of one process: a worker, the listeners that bring it clients, and its files.

The control plane is the other half; `lbproxy.runtime` joins the two. Ticket keys are those of the
TLS contexts, which are therefore made once, before there are workers, and handed in.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from functools import partial

from lbproxy.config.schema import Config
from lbproxy.limits.board import Page
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.desk import Reports
from lbproxy.proxy.downstream.listener import Listener, ListenerState
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.proxy.worker import TICK_S, Worker

# How often certificate files are looked at.
CERTIFICATES_EVERY_S = 2.0

# Where clients reach a balancer that ends TLS before us, unless public_port says otherwise.
_HTTPS = 443

_log = logging.getLogger("lbproxy.tls")


def server_tls(config: Config) -> dict[str, ServerTls]:
    """Return TLS by the listener's name, for those that have it. Raises: TlsError."""
    return {listener.name: ServerTls(listener.tls) for listener in config.listeners if listener.tls}


class DataPlane:
    """Serves clients with the nodes of the snapshots that it is given.

    Args: sockets: listening, by the listener's name; tls: as of server_tls(); reports: where
    failures of nodes are told; keys: by pool, what signs its affinity cookie; tick_s: precision of
    timeouts in seconds; page: of the board, None for the only worker. Raises: OSError if the access
    log cannot be opened.

    Owns: the worker, the listeners, the access log. All but the constructor is for the event loop's
    thread.
    """

    def __init__(
        self,
        config: Config,
        sockets: Mapping[str, socket.socket],
        tls: Mapping[str, ServerTls],
        reports: Reports,
        keys: Mapping[str, bytes],
        tick_s: float = TICK_S,
        page: Page | None = None,
    ) -> None:
        self._config = config
        self._access_log = _access_log(config.access_log.path) if config.access_log else None
        self.worker = Worker(config, reports, self._access_log, keys, tick_s, page)
        self._states = _listener_states(config, sockets, tls)
        self.worker.listeners.extend(self._states)
        self._listeners = [self._listener(state, sockets[state.name]) for state in self._states]
        self._lent: dict[int, list[Listener]] = {}
        self._certificates: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve; the worker has a snapshot."""
        self.worker.start()
        for listener in self._listeners:
            await listener.start()
        if any(state.tls for state in self._states):
            self._certificates = asyncio.get_running_loop().create_task(
                _watch_certificates(self._states), name="certificates"
            )

    async def accept_also(self, place: int, sockets: Mapping[str, socket.socket]) -> None:
        """Accept for another worker, too, which cannot for a while.

        Args: place: of that worker; sockets: of its listeners by name, not closed here.
        """
        if place in self._lent:
            return
        lent = [
            self._listener(state, sockets[state.name].dup())
            for state in self._states
            if state.name in sockets
        ]
        self._lent[place] = lent
        for listener in lent:
            await listener.start()

    def stop_accepting_for(self, place: int) -> None:
        """Accept no more for a worker that can do so again; may be called again."""
        for listener in self._lent.pop(place, ()):
            listener.close()

    def stop_accepting(self) -> None:
        """Accept no more, and close each connection behind its answer; may be called again."""
        self.worker.desk.draining = True
        for listener in self._listeners:
            listener.close()
        for place in [*self._lent]:
            self.stop_accepting_for(place)

    async def drain(self) -> bool:
        """Accept no more and let exchanges in progress end, within `timeouts.drain`.

        Returns: True if nothing had to be cut off.
        """
        self.stop_accepting()
        return await self.worker.drain(self._config.timeouts.drain)

    async def stop(self) -> None:
        """Cut off what is left; may be called again."""
        self.stop_accepting()
        if self._certificates is not None:
            self._certificates.cancel()
        self.worker.stop()
        # One turn, so that transports that were aborted are really gone.
        await asyncio.sleep(0)
        log, self._access_log = self._access_log, None
        if log is not None:
            log.close()

    def reopen_log(self) -> None:
        """Open the access log again: log rotation has moved it away."""
        if self._access_log is not None:
            self._access_log.reopen()

    def _listener(self, state: ListenerState, sock: socket.socket) -> Listener:
        return Listener(
            state,
            sock,
            partial(self.worker.serve, state),
            self._config.timeouts.client_head,
            self.worker.count_rejected,
        )


def _listener_states(
    config: Config, sockets: Mapping[str, socket.socket], tls: Mapping[str, ServerTls]
) -> list[ListenerState]:
    by_name = {listener.name: listener for listener in config.listeners}
    states: list[ListenerState] = []
    for listener in config.listeners:
        port = 0
        if listener.redirect_to:
            target = by_name[listener.redirect_to]
            port = target.public_port or (
                _HTTPS if target is listener else sockets[target.name].getsockname()[1]
            )
        states.append(ListenerState(listener, tls.get(listener.name), port))
    return states


def _access_log(path: str) -> AccessLog:
    """Open the access log. Raises: OSError that says what is wanted.

    Several processes may have one open: the lines stay whole.
    """
    try:
        return AccessLog(path)
    except OSError as error:
        raise OSError(
            f"access_log.path {path}: {error.strerror}; it wants a directory that is there and in "
            "which lbproxy's user may write (systemd: LogsDirectory=lbproxy)"
        ) from None


async def _watch_certificates(states: list[ListenerState]) -> None:
    """Load certificate files that change; report one that cannot be used, once."""
    while True:
        await asyncio.sleep(CERTIFICATES_EVERY_S)
        for state in states:
            if state.tls is None:
                continue
            for result in state.tls.reload_if_changed():
                if result.problem:
                    _log.error(
                        "listener %s: %s: not loaded, the old certificate stays: %s",
                        state.name,
                        result.cert,
                        result.problem,
                    )
                else:
                    _log.info("listener %s: %s: loaded", state.name, result.cert)
