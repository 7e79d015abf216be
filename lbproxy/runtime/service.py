"""Both planes in one event loop, joined by a direct channel."""

from __future__ import annotations

import logging
import os

from lbproxy.config import schema
from lbproxy.control.reloading import History, Reload, cannot_reload, cannot_upgrade
from lbproxy.proxy.plane import DataPlane, server_tls
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.proxy.worker import TICK_S, Worker
from lbproxy.runtime.channel.direct import Direct
from lbproxy.runtime.control_seat import ControlSeat
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.following import new_sockets
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.passed import PassedSockets
from lbproxy.runtime.sockets import Sockets, close_unused, open_again, open_all, port_of
from lbproxy.runtime.ticket_secrets import SECRET_BYTES, ticket_secrets, warn_of_files
from lbproxy.runtime.tuning import tune

_log = logging.getLogger("lbproxy.process")


class Service:
    """Everything that a configuration asks for, in this process.

    Args: config; tick_s: precision of timeouts in seconds; reload: reads the configuration again,
    for the admin API; sets_tickets: keys of session tickets can be set.
    Owns: the sockets from `open` on, both planes from `start` on.

    Attributes: config: that holds now.
    """

    def __init__(
        self,
        config: schema.Config,
        tick_s: float = TICK_S,
        reload: Reload = cannot_reload,
        sets_tickets: bool = False,
    ) -> None:
        self.config = config
        self._tick_s = tick_s
        self._sockets = Sockets()
        self._keys: dict[str, bytes] = {}
        self._sets_tickets = sets_tickets
        self._ticket_secret = os.urandom(SECRET_BYTES)
        self._channel = Direct()
        self._data: DataPlane | None = None
        self._worker: Worker | None = None
        self._seat = ControlSeat(
            self._channel,
            self._channel.publish,
            lambda urgent: None,
            reload,
            cannot_upgrade,
            History(),
        )
        self._started = False

    def open(self, passed: PassedSockets | None = None) -> None:
        """Open every socket. Args: passed: as of `open_all`.

        Raises: BindError: then none is left open.
        """
        self._sockets = open_all(self.config, passed=passed)
        tune(self._sockets, self.config)

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

    @property
    def history(self) -> History:
        """What became of the configuration since the start."""
        return self._seat.history

    @history.setter
    def history(self, history: History) -> None:
        self._seat.history = history

    async def start(self) -> None:
        """Begin to serve.

        Raises: TlsError, AdminError, McmpError, StateError, OSError: what the configuration names
        cannot be used.
        """
        config, sockets = self.config, self._sockets
        self._keys = affinity_keys(config)
        self._data = DataPlane(
            config,
            sockets.of_worker(0),
            self._tls(config),
            self._channel,
            self._keys,
            self._tick_s,
        )
        self._worker = self._channel.worker = self._data.worker
        control = self._channel.control = self._seat.make(config, sockets.admin, sockets.mcmp, None)
        self._started = True
        await control.start()
        await self._data.start()
        for place, beyond in sockets.beyond(0, 1).items():
            await self._data.accept_also(place, beyond)

    async def follow(self, config: schema.Config) -> None:
        """Follow another configuration in place.

        Raises: BindError, TlsError, AdminError, McmpError, StateError, OSError: then the old one
        holds.
        """
        assert self._data is not None
        before = self._sockets
        too_few = raise_descriptor_limit(config)
        if too_few is not None:
            _log.warning("%s", too_few)
        keys = affinity_keys(config, self._keys)
        tls = self._tls(config)
        after = open_again(before, config)
        try:
            await self._seat.follow(config, after.admin, after.mcmp)
            try:
                new = new_sockets(before, after)
                await self._data.follow(config, new.of_worker(0), tls, keys)
            except Exception:
                await self._seat.follow(self.config, before.admin, before.mcmp)
                raise
        except Exception:
            close_unused(after, before)
            raise
        finally:
            self._channel.control = self._seat.plane
        self._sockets, self.config, self._keys = after, config, keys
        close_unused(before, after, before.of_worker(0))
        tune(after, config)

    def _tls(self, config: schema.Config) -> dict[str, ServerTls]:
        """Return TLS by the listener's name. Raises: TlsError."""
        if not self._sets_tickets:
            warn_of_files(config)
        secrets = ticket_secrets(config, self._ticket_secret, self._sets_tickets)
        return server_tls(config, secrets)

    def shut_down(self) -> None:
        """Say at /readyz that no traffic should come any more."""
        self._seat.plane.shut_down()

    async def drain(self) -> bool:
        """Accept no more and let exchanges in progress end, within `timeouts.drain`.

        Returns: True if nothing had to be cut off.
        """
        assert self._data is not None
        self._seat.plane.shut_down()
        self._seat.plane.tell_what_is_lost()
        return await self._data.drain()

    async def stop(self) -> None:
        """End at once; may be called again."""
        if self._data is not None:
            await self._data.stop()
        if self._started:
            await self._seat.plane.stop()
        self._sockets.close()

    def reopen_log(self) -> None:
        """Open the access log again: log rotation has moved it away."""
        if self._data is not None:
            self._data.reopen_log()
            _log.info("access log opened again")
