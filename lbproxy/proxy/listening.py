"""The listeners of one worker, on its own sockets and on those that it is lent.

Connections never change between plain and TLS, nor from one address to another: where a listener
does, another state takes its name, and the connections of the old one close behind their answers.
Everything else is followed in place: what a redirect says holds from the next request on, and what
is said of certificates or of PROXY headers from the next connection on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from functools import partial

from lbproxy.config.schema import Config, ListenerSettings
from lbproxy.proxy.downstream.listener import Listener, ListenerState
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.proxy.worker import Worker

# Where clients reach a balancer that ends TLS before us, unless public_port says otherwise.
_HTTPS = 443


class Listening:
    """The listeners that bring a worker its clients.

    Args: sockets: listening, by the listener's name; tls: by name, of those that have it.
    Owns: the sockets, from `start` on.
    """

    def __init__(
        self,
        worker: Worker,
        config: Config,
        sockets: Mapping[str, socket.socket],
        tls: Mapping[str, ServerTls],
    ) -> None:
        self._worker = worker
        self._own: dict[str, Listener] = {}
        self._lent: dict[int, dict[str, Listener]] = {}
        self._retired: list[Listener] = []  # while they hand on the last connections
        for settings in config.listeners:
            port = _redirect_port(config, settings, sockets)
            state = ListenerState(settings, tls.get(settings.name), port)
            worker.listeners.append(state)
            self._own[state.name] = self._listener(state, sockets[state.name])

    async def start(self) -> None:
        """Begin to accept."""
        for listener in self._own.values():
            await listener.start()

    async def accept_also(self, place: int, sockets: Mapping[str, socket.socket]) -> None:
        """Accept for another worker. Args: as of `DataPlane.accept_also`."""
        if place in self._lent:
            return
        lent = {
            state.name: self._listener(state, sockets[state.name].dup())
            for state in self._worker.listeners
            if state.name in sockets
        }
        self._lent[place] = lent
        for listener in lent.values():
            await listener.start()

    def stop_accepting_for(self, place: int) -> None:
        """Accept no more for a worker that can do so again; may be called again."""
        for listener in self._lent.pop(place, {}).values():
            listener.close()

    def retire(self) -> None:
        """Accept those that wait in the queues, and then no more; may be called again."""
        for listener in self._own.values():
            listener.retire(succeeded=False)
        for place in [*self._lent]:
            self.stop_accepting_for(place)

    async def settle(self, timeout_s: float) -> None:
        """Wait until all that were accepted are handed on, and let go of those that are not in
        time. Args: timeout_s: for their PROXY headers."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for listener in (*self._own.values(), *self._retired):
                    await listener.settled()
        self.close()

    def close(self) -> None:
        """Accept no more, and let go of those that are not handed on yet; may be called again."""
        for listener in (*self._own.values(), *self._retired):
            listener.close()
        for place in [*self._lent]:
            self.stop_accepting_for(place)

    async def follow(
        self, config: Config, sockets: Mapping[str, socket.socket], tls: Mapping[str, ServerTls]
    ) -> None:
        """Follow another configuration; the worker has followed it already.

        Args: sockets: of listeners that are new or bound anew, the others keep theirs; tls: of all
        that have it. Raises: OSError: out of descriptors.
        """
        worker = self._worker
        before = {state.name: state for state in worker.listeners}
        bound = {name: listener.socket for name, listener in self._own.items()} | dict(sockets)
        states: list[ListenerState] = []
        ports: list[int] = []
        for settings in config.listeners:
            name = settings.name
            port = _redirect_port(config, settings, bound)
            state = before.get(name)
            ours = _followed(None if state is None else state.tls, tls.get(name))
            if state is None or name in sockets or state.secure != (ours is not None):
                state = _successor(state, ListenerState(settings, ours, port))
            states.append(state)
            ports.append(port)
        changes = [(self._own, self._next(config, self._own, states, sockets))]
        self._own = changes[0][1]
        for place, lent in self._lent.items():
            kept = {name: listener for name, listener in lent.items() if name not in sockets}
            self._lent[place] = self._next(config, kept, states, {})
            changes.append((lent, self._lent[place]))
        # Those who end take the connections that wait, as long as their state says what is to come
        # on them; the next ones of the same queue come after them, in this turn.
        for old, new in changes:
            for name, listener in old.items():
                if new.get(name) is not listener:
                    listener.retire(succeeded=name in new and name not in sockets)
                    self._retired.append(listener)
        self._retired = [listener for listener in self._retired if listener.busy]
        for settings, state, port in zip(config.listeners, states, ports, strict=True):
            state.follow(settings, port)
        for old, new in changes:
            for name, listener in new.items():
                listener.head_timeout = config.timeouts.client_head
                if old.get(name) is not listener:
                    await listener.start()
        worker.listeners[:] = states
        for state in before.values():
            if state not in states:
                worker.retire(state)

    def _next(
        self,
        config: Config,
        listeners: Mapping[str, Listener],
        states: list[ListenerState],
        sockets: Mapping[str, socket.socket],
    ) -> dict[str, Listener]:
        """Return who accepts from now on, instead of these. Args: sockets: that are new."""
        found: dict[str, Listener] = {}
        for settings, state in zip(config.listeners, states, strict=True):
            name = state.name
            listener = listeners.get(name)
            if name in sockets:
                found[name] = self._listener(state, sockets[name])
            elif listener is not None and listener.serves(state, settings):
                found[name] = listener
            elif listener is not None:
                found[name] = self._listener(state, listener.socket)
        return found

    def _listener(self, state: ListenerState, sock: socket.socket) -> Listener:
        return Listener(
            state,
            sock,
            partial(self._worker.serve, state),
            self._worker.config.timeouts.client_head,
            self._worker.count_rejected,
            self._worker.config.limits.backlog,
        )


def _followed(before: ServerTls | None, wanted: ServerTls | None) -> ServerTls | None:
    """Return the TLS of a listener: what it has already, if it has some and goes on to, so that
    sessions resume even where ticket keys cannot be set."""
    if before is None or wanted is None:
        return wanted
    if not before.does_as(wanted):
        before.follow(wanted)
    return before


def _successor(before: ListenerState | None, state: ListenerState) -> ListenerState:
    """Return the state, with the counter of the one whose name it takes."""
    if before is not None:
        state.accepted = before.accepted
    return state


def _redirect_port(
    config: Config, settings: ListenerSettings, sockets: Mapping[str, socket.socket]
) -> int:
    """Return the port that redirects of a listener name, 0 if it does not redirect."""
    if not settings.redirect_to:
        return 0
    (target,) = (each for each in config.listeners if each.name == settings.redirect_to)
    if target.public_port:
        return target.public_port
    return _HTTPS if target is settings else int(sockets[target.name].getsockname()[1])
