"""Both planes in one event loop, joined by a direct channel."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from time import monotonic

from lbproxy.cluster.registry import Registry
from lbproxy.config import schema
from lbproxy.control.plane import ControlPlane
from lbproxy.files import FileMark
from lbproxy.proxy.plane import DataPlane, server_tls
from lbproxy.proxy.worker import TICK_S, Worker
from lbproxy.runtime.channel.direct import Direct
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.sockets import (
    Sockets,
    file_of,
    open_all,
    open_group,
    port_of,
    remove_files,
)

_log = logging.getLogger("lbproxy.process")


class Service:
    """Everything that a configuration asks for, in this process.

    Args: config; tick_s: precision of timeouts in seconds.
    Owns: the sockets from `open` on, both planes from `start` on.
    """

    def __init__(self, config: schema.Config, tick_s: float = TICK_S) -> None:
        self._config = config
        self._tick_s = tick_s
        self._sockets = Sockets()
        self._keys: dict[str, bytes] = {}
        self._data: DataPlane | None = None
        self._worker: Worker | None = None
        self._control: ControlPlane | None = None

    def open(self) -> None:
        """Open every socket. Raises: BindError: then none is left open."""
        self._sockets = open_all(self._config)

    def port(self, listener: str) -> int:
        """Return the port on which the listener of this name is bound."""
        return port_of(self._sockets.listeners[listener][0])

    @property
    def admin_port(self) -> int:
        """The port on which the admin API is bound; 0 for none, or a Unix socket."""
        return port_of(self._sockets.admin)

    @property
    def mcmp_port(self) -> int:
        """The port at which nodes announce themselves; 0 for none, or a Unix socket."""
        mcmp = self._sockets.mcmp
        return 0 if mcmp is None else port_of(mcmp.listening)

    async def start(self) -> None:
        """Begin to serve.

        Raises: TlsError, AdminError, McmpError, StateError, OSError: what the configuration names
        cannot be used.
        """
        config, sockets = self._config, self._sockets
        self._keys = affinity_keys(config)
        registry = Registry(config, monotonic())
        channel = Direct()
        data = DataPlane(
            config,
            sockets.of_worker(0),
            server_tls(config),
            channel,
            self._keys,
            self._tick_s,
        )
        self._data = data
        self._worker = channel.worker = data.worker
        control = ControlPlane(
            config, registry, channel, channel.publish, admin=sockets.admin, mcmp=sockets.mcmp
        )
        self._control = channel.control = control
        self._worker.apply(registry.snapshot())
        await control.start()
        await data.start()

    async def follow(self, config: schema.Config) -> None:
        """Let the data plane follow another configuration.

        Raises: BindError, TlsError, OSError: then nothing has changed.
        """
        assert self._data is not None
        keys = affinity_keys(config, self._keys)
        tls = server_tls(config)
        before = {each.name: each.bind for each in self._config.listeners}
        new: dict[str, tuple[socket.socket, ...]] = {}
        files: dict[str, FileMark | None] = {}
        try:
            for each in config.listeners:
                if before.get(each.name) != each.bind:
                    new[each.name] = open_group(each.bind, 1)
                    files |= file_of(each.bind)
            own = {name: members[0] for name, members in new.items()}
            await self._data.follow(config, own, tls, keys)
        except BaseException:
            Sockets(new, files=files).close()
            raise
        listeners = {
            each.name: new.get(each.name) or self._sockets.listeners[each.name]
            for each in config.listeners
        }
        gone = {each.bind.path for each in self._config.listeners} - {
            each.bind.path for each in config.listeners
        }
        kept = self._sockets.files
        remove_files({path: mark for path, mark in kept.items() if path in gone})
        files |= {path: mark for path, mark in kept.items() if path not in gone}
        self._sockets = replace(self._sockets, listeners=listeners, files=files)
        self._config, self._keys = config, keys

    def shut_down(self) -> None:
        """Say at /readyz that no traffic should come any more."""
        assert self._control is not None
        self._control.shut_down()

    async def drain(self) -> bool:
        """Accept no more and let exchanges in progress end, within `timeouts.drain`.

        Returns: True if nothing had to be cut off.
        """
        assert self._data is not None
        assert self._control is not None
        self._control.shut_down()
        self._control.tell_what_is_lost()
        return await self._data.drain()

    async def stop(self) -> None:
        """End at once; may be called again."""
        if self._data is not None:
            await self._data.stop()
        if self._control is not None:
            await self._control.stop()
        self._sockets.close()

    def reopen_log(self) -> None:
        """Open the access log again: log rotation has moved it away."""
        if self._data is not None:
            self._data.reopen_log()
            _log.info("access log opened again")
