"""One worker and the control plane in one event loop, joined by a direct channel."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from time import monotonic
from typing import cast

from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config import schema
from lbproxy.control.plane import ControlPlane
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.downstream.listener import Listener, ListenerState
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.proxy.worker import TICK_S, Worker
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.sockets import open_socket

# How often certificate files are looked at.
CERTIFICATES_EVERY_S = 2.0

# Where clients reach a balancer that ends TLS before us, unless public_port says otherwise.
_HTTPS = 443

_log = logging.getLogger("lbproxy.tls")


class Service:
    """Everything that a configuration asks for, in this process.

    Args: config; tick_s: precision of timeouts in seconds.
    Owns: the sockets from `open` on, the worker and the control plane from `start` on.
    """

    def __init__(self, config: schema.Config, tick_s: float = TICK_S) -> None:
        self._config = config
        self._tick_s = tick_s
        self._sockets: dict[str, socket.socket] = {}
        self._listeners: list[Listener] = []
        self._certificates: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._control: ControlPlane | None = None
        self._access_log: AccessLog | None = None

    def open(self) -> None:
        """Open every listening socket.

        Raises: BindError: then none is left open.
        """
        try:
            for listener in self._config.listeners:
                self._sockets[listener.name] = open_socket(listener.bind)
        except Exception:
            for sock in self._sockets.values():
                sock.close()
            raise

    def port(self, listener: str) -> int:
        """Return the port on which the listener of this name is bound."""
        name = self._sockets[listener].getsockname()
        return cast(int, name[1])

    @property
    def admin_port(self) -> int:
        """The port on which the admin API is bound."""
        assert self._control is not None
        return self._control.admin_port

    @property
    def mcmp_port(self) -> int:
        """The port at which nodes announce themselves."""
        assert self._control is not None
        return self._control.mcmp_port

    async def start(self) -> None:
        """Begin to serve.

        Raises: TlsError, AdminError, McmpError, StateError, OSError: what the configuration names
        cannot be used.
        """
        config = self._config
        states = self._listener_states()
        if config.access_log:
            self._access_log = _access_log(config.access_log.path)
        registry = Registry(config, monotonic())
        channel = _Direct()
        worker = Worker(config, channel, self._access_log, affinity_keys(config), self._tick_s)
        control = ControlPlane(config, registry, channel, channel.publish)
        channel.worker, channel.control = worker, control
        worker.listeners.extend(states)
        worker.apply(registry.snapshot())
        self._worker, self._control = worker, control
        await control.start()
        worker.start()
        for state in states:
            listener = Listener(
                state,
                self._sockets[state.name],
                partial(worker.serve, state),
                config.timeouts.client_head,
                worker.count_rejected,
            )
            await listener.start()
            self._listeners.append(listener)
        if any(state.tls for state in states):
            self._certificates = asyncio.get_running_loop().create_task(
                _watch_certificates(states), name="certificates"
            )

    async def drain(self) -> bool:
        """Accept no more and let exchanges in progress end, within `timeouts.drain`.

        Returns: True where nothing had to be cut off.
        """
        assert self._worker is not None
        assert self._control is not None
        self._control.shut_down()
        self._control.tell_what_is_lost()
        for listener in self._listeners:
            listener.close()
        return await self._worker.drain(self._config.timeouts.drain)

    async def stop(self) -> None:
        """End at once; may be called again."""
        for listener in self._listeners:
            listener.close()
        if self._certificates is not None:
            self._certificates.cancel()
        if self._worker is not None:
            self._worker.stop()
        if self._control is not None:
            await self._control.stop()
        # One turn, so that transports that were aborted are really gone.
        await asyncio.sleep(0)
        log, self._access_log = self._access_log, None
        if log is not None:
            log.close()
        for sock in self._sockets.values():
            sock.close()

    def reopen_log(self) -> None:
        """Open the access log anew: log rotation has moved it away."""
        if self._access_log is not None:
            self._access_log.reopen()

    def _listener_states(self) -> list[ListenerState]:
        by_name = {listener.name: listener for listener in self._config.listeners}
        states: list[ListenerState] = []
        for listener in self._config.listeners:
            tls = ServerTls(listener.tls) if listener.tls else None
            port = 0
            if listener.redirect_to:
                target = by_name[listener.redirect_to]
                port = target.public_port or (
                    _HTTPS if target is listener else self.port(target.name)
                )
            states.append(ListenerState(listener, tls, port))
        return states


def _access_log(path: str) -> AccessLog:
    """Open the access log. Raises: OSError that says what is wanted."""
    try:
        return AccessLog(path)
    except OSError as error:
        raise OSError(
            f"access_log.path {path}: {error.strerror}; it wants a directory that is there and in "
            "which lbproxy's user may write (systemd: LogsDirectory=lbproxy)"
        ) from None


class _Direct:
    """The channel between a worker and the control plane where both share a process."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.control: ControlPlane | None = None

    def publish(self, snapshot: Snapshot) -> None:
        if self.worker is not None:
            self.worker.apply(snapshot)

    def stats(self) -> WorkerStats:
        return WorkerStats() if self.worker is None else self.worker.stats()

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        return 0 if self.worker is None else self.worker.in_flight(pool, node, context)

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        if self.control is not None:
            self.control.node_failed(pool, node, reason, client)

    def node_recovered(self, pool: str, node: str) -> None:
        if self.control is not None:
            self.control.node_recovered(pool, node)


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
