"""The data plane of one process: a worker, the listeners that bring it clients, and its files.

The control plane is the other half; `lbproxy.runtime` joins the two. TLS contexts are made once,
before there are workers, and handed in: where ticket keys cannot be set they are the contexts'.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping

from lbproxy.config.schema import Config
from lbproxy.limits.board import Page
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.desk import Reports
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.listening import Listening
from lbproxy.proxy.transport.tickets import TicketSecret
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.proxy.worker import NEWCOMER_S, TICK_S, Worker

# How often certificate files are looked at.
CERTIFICATES_EVERY_S = 2.0

_log = logging.getLogger("lbproxy.tls")


def server_tls(
    config: Config, secrets: Mapping[str, TicketSecret] | None = None
) -> dict[str, ServerTls]:
    """Return TLS by the listener's name, for those that have it.

    Args: secrets: what ticket keys are derived from; none: they are the contexts' own.
    Raises: TlsError.
    """
    secrets = secrets or {}
    return {
        listener.name: ServerTls(listener.tls, secrets.get(listener.name))
        for listener in config.listeners
        if listener.tls
    }


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
        self._access_log = _access_log(config.access_log.path) if config.access_log else None
        self.worker = Worker(config, reports, self._access_log, keys, tick_s, page)
        self._listening = Listening(self.worker, config, sockets, tls)
        self._following = asyncio.Lock()
        self._certificates: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve; the worker has a snapshot."""
        self.worker.start()
        await self._listening.start()
        self._watch()

    async def follow(
        self,
        config: Config,
        sockets: Mapping[str, socket.socket],
        tls: Mapping[str, ServerTls],
        keys: Mapping[str, bytes],
    ) -> None:
        """Follow another configuration in place; nobody loses a connection or an exchange by it.

        If it has pools that no snapshot tells of yet, it waits a while for one that does
        (`worker.SNAPSHOT_WAIT_S`): the control plane follows at the same time. All the rest is one
        step of the event loop. A data plane that drains follows nothing.

        Exchanges in progress go on by the rules that they began with. A connection follows between
        two requests. Connections of listeners that are gone, or bound elsewhere, close behind the
        next answer, and after `timeouts.drain` at the latest. Those that wait in the queue of such
        a listener are accepted; the caller closes its own descriptors of that socket before, or
        others could come to wait there for nobody.

        Args: sockets: listening, of listeners that are new or bound anew; the others keep theirs;
        tls: as of server_tls(): certificates are taken over where a section or a secret has
        changed, and sessions resume where names and secret are the same; keys: as of the
        constructor, and the same for pools whose affinity has not changed.
        Raises: OSError: the access log cannot be opened; then nothing has changed.
        """
        async with self._following:
            await self.worker.hear_of(config)
            if self.worker.desk.draining:
                for sock in sockets.values():
                    sock.close()
                return
            before = log = self._access_log
            path = config.access_log.path if config.access_log else None
            if path != (None if before is None else before.path):
                log = None if path is None else _access_log(path)
            self.worker.follow(config, keys)
            await self._listening.follow(config, sockets, tls)
            _renew(self.worker.listeners)
            self._watch()
            self.worker.log_to(log)
            self._access_log = log
            if before is not None and before is not log:
                before.close()

    async def accept_also(self, place: int, sockets: Mapping[str, socket.socket]) -> None:
        """Accept for another worker, too, which cannot for a while.

        Args: place: of that worker; sockets: of its listeners by name, not closed here. What it is
        lent follows a configuration as its own do, but for sockets that are new or bound anew.
        """
        await self._listening.accept_also(place, sockets)

    def stop_accepting_for(self, place: int) -> None:
        """Accept no more for a worker that can do so again; may be called again."""
        self._listening.stop_accepting_for(place)

    def stop_accepting(self) -> None:
        """Accept those that wait already, and then no more; close each connection behind its
        answer; may be called again."""
        self.worker.desk.draining = True
        self._listening.retire()

    async def drain(self, *, taken_over: bool = False) -> bool:
        """Accept no more and let exchanges in progress end, within `timeouts.drain`.

        Args: taken_over: as of `Worker.drain`. Returns: True if nothing had to be cut off.
        """
        self.stop_accepting()
        await self._listening.settle(NEWCOMER_S)
        drain_s = self.worker.config.timeouts.drain
        return await self.worker.drain(drain_s, taken_over=taken_over)

    async def stop(self) -> None:
        """Cut off what is left; may be called again."""
        self.worker.desk.draining = True
        self._listening.close()
        if self._certificates is not None:
            self._certificates.cancel()
        self.worker.stop()
        # One turn, so that transports that were aborted are really gone.
        await asyncio.sleep(0)
        log, self._access_log = self._access_log, None
        if log is not None:
            log.close()

    def _watch(self) -> None:
        """Look at certificates from now on, if there are any."""
        listeners = self.worker.listeners
        if self._certificates is None and any(state.tls for state in listeners):
            self._certificates = asyncio.get_running_loop().create_task(
                _watch_certificates(listeners), name="certificates"
            )

    def reopen_log(self) -> None:
        """Open the access log again: log rotation has moved it away."""
        if self._access_log is not None:
            self._access_log.reopen()


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
    while True:
        await asyncio.sleep(CERTIFICATES_EVERY_S)
        _renew(states)


def _renew(states: list[ListenerState]) -> None:
    """Load certificate files that have changed; report one that cannot be used, once."""
    for state in [*states]:
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
