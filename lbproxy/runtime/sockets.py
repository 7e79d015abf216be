"""Every socket that lbproxy owns for long: opened here, before anything else, and handed in.

Who accepts on a socket has it from here: a control plane that ends and begins again finds the
connections that waited meanwhile. A TCP listener has a socket for each worker, all at one address
(SO_REUSEPORT): the kernel spreads new connections over them, and those in the queue of a worker
that dies wait for its successor, because the sockets are not the worker's. A Unix socket is one for
all workers.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from lbproxy.config.addresses import Bind
from lbproxy.config.schema import Config, ListenerTcpSettings
from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.part import McmpSockets
from lbproxy.files import FileMark, mark_of
from lbproxy.net.sender import open_sender
from lbproxy.proxy.downstream.listener import BACKLOG
from lbproxy.runtime.binding import tcp_address, why_not_bound
from lbproxy.runtime.cores import core_of
from lbproxy.runtime.passed import PassedSockets, completed
from lbproxy.tcp import TcpOptions

_ADMIN_BACKLOG = 128  # what aiohttp sets again
_MCMP_BACKLOG = 1024  # after a restart all nodes come at once
_PRIVATE = 0o600
# Of a group that member gets a new connection which names the core that its first packet came by
# (Linux; Python has no name for it).
_SO_INCOMING_CPU = 49
_ANY_CORE = -1
_CLOSED = -1  # instead of a descriptor

_log = logging.getLogger("lbproxy.process")


class BindError(Exception):
    """An address cannot be listened on; the text says which, why, and what to do."""


class AdminBindError(BindError):
    """The admin API's address cannot be listened on."""


class McmpBindError(BindError):
    """The MCMP listener's address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """What is listened on, and what advertises it, not blocking. Owns the sockets and the files of
    Unix sockets.

    Args: listeners: by name, a socket for each worker, or one for all; admin, mcmp: None if the
    configuration has none; files: of Unix sockets, with what tells each from one that another
    process has put in its place.
    """

    listeners: Mapping[str, tuple[socket.socket, ...]] = field(default_factory=dict)
    admin: socket.socket | None = None
    mcmp: McmpSockets | None = None
    files: Mapping[str, FileMark | None] = field(default_factory=dict)

    def close(self) -> None:
        """Listen no more, and remove the files; may be called again."""
        self.let_go()
        remove_files(self.files)

    def let_go(self) -> None:
        """Close every socket here; where another process holds it, it stays open."""
        for sock in self.all():
            sock.close()

    def all(self) -> list[socket.socket]:
        """Return every socket."""
        mcmp = () if self.mcmp is None else (self.mcmp.listening, self.mcmp.sending)
        listening = [sock for members in self.listeners.values() for sock in members]
        return [*listening, *(each for each in (self.admin, *mcmp) if each is not None)]

    def of_worker(self, place: int) -> dict[str, socket.socket]:
        """Return the sockets on which the worker at this place accepts, by the listener's name."""
        return {name: members[place % len(members)] for name, members in self.listeners.items()}

    def own_of(self, place: int) -> dict[str, socket.socket]:
        """Return those of them that are its own, as others have theirs."""
        return {
            name: members[place]
            for name, members in self.listeners.items()
            if place < len(members) > 1
        }

    def beyond(self, place: int, workers: int) -> dict[int, dict[str, socket.socket]]:
        """Return the sockets that are at places for which there is no worker, by that place, as far
        as the worker at this place accepts on them, too.

        The kernel gives them connections, however many there are: see `passed`.
        """
        most = max((len(members) for members in self.listeners.values()), default=0)
        return {each: self.own_of(each) for each in range(workers, most) if each % workers == place}


def open_all(config: Config, workers: int = 1, passed: PassedSockets | None = None) -> Sockets:
    """Open the sockets of a configuration: listeners, admin API, MCMP with its advertisements.

    Args: passed: taken instead, by those that they are for; the others are closed.
    Raises: BindError: then none is left open.
    """
    taken, admin, listening = _take(passed or PassedSockets(), config)
    listeners: dict[str, tuple[socket.socket, ...]] = {}
    files: dict[str, FileMark | None] = {}
    mcmp = None
    try:
        for listener in config.listeners:
            members = taken.pop(listener.name)
            if members:
                listeners[listener.name] = completed(listener.name, members, workers)
            else:
                listeners[listener.name] = open_group(listener.bind, workers)
                files |= file_of(listener.bind)
        if config.admin is not False and admin is None:
            admin = _open_admin(config.admin.bind)
            files |= file_of(config.admin.bind)
        if config.mcmp is not False:
            if listening is None:
                listening = _open_mcmp(config.mcmp.bind)
                files |= file_of(config.mcmp.bind)
            mcmp = McmpSockets(listening)
            if config.mcmp.advertise is not False:
                mcmp = replace(mcmp, sending=_sender(config.mcmp.advertise.group))
    except BaseException:
        Sockets(listeners | taken, admin, mcmp, files).close()
        if listening is not None:
            listening.close()
        raise
    sockets = Sockets(listeners, admin, mcmp, files)
    tune(sockets, config)
    return sockets


def _take(
    passed: PassedSockets, config: Config
) -> tuple[dict[str, tuple[socket.socket, ...]], socket.socket | None, socket.socket | None]:
    """Return what was passed for listeners by name, for the admin API and for MCMP; close the rest.

    Done before anything is opened: what is left may be why that fails.
    """
    taken = {
        each.name: passed.take(f"listener {each.name}", each.name, each.bind)
        for each in config.listeners
    }
    admin = passed.take_one("admin", config.admin.bind) if config.admin else None
    mcmp = passed.take_one("mcmp", config.mcmp.bind) if config.mcmp else None
    passed.close()
    return taken, admin, mcmp


def tune(sockets: Sockets, config: Config) -> None:
    """Have listening sockets do what a configuration says of them, whichever they did before.

    Connections that stand already are not concerned. To be called in a process that may use every
    core that workers do. Says so if the kernel refuses; never raises.
    """
    steering = config.steer_by_core and config.pin_workers
    for listener in config.listeners:
        members = sockets.listeners[listener.name]
        try:
            for place, sock in enumerate(members):
                if sock.fileno() == _CLOSED:  # it drains
                    continue
                _client_options(listener.tcp).set_on(sock)
                if len(members) > 1 and sock.family != socket.AF_UNIX:
                    core = core_of(place) if steering else _ANY_CORE
                    sock.setsockopt(socket.SOL_SOCKET, _SO_INCOMING_CPU, core)
                sock.listen(config.limits.backlog)
        except OSError as error:
            _log.warning("listener %s: an option was refused: %s", listener.name, error.strerror)


def _client_options(settings: ListenerTcpSettings) -> TcpOptions:
    return TcpOptions(
        float(settings.user_timeout),
        float(settings.keepalive_idle),
        settings.keepalive_interval,
        settings.keepalive_count,
    )


def open_again(before: Sockets, old: Config, new: Config, workers: int) -> Sockets:
    """Return the sockets of another configuration: those that both name are the same ones.

    Raises: BindError: then nothing is left open that was not before.
    """
    binds = {each.name: each.bind for each in old.listeners}
    known = {
        each.bind: before.listeners[each.name]
        for each in old.listeners
        if each.bind.port or each.bind.path
    }
    listeners: dict[str, tuple[socket.socket, ...]] = {}
    opened: list[socket.socket] = []
    files: dict[str, FileMark | None] = {}
    admin = mcmp = None
    try:
        for listener in new.listeners:
            if binds.get(listener.name) == listener.bind:
                listeners[listener.name] = before.listeners[listener.name]
                files |= _known(before, listener.bind)
                continue
            if listener.bind in known:
                # It has another name now, or changes places with another: the address stays open.
                again = tuple(sock.dup() for sock in known[listener.bind])
                listeners[listener.name] = again
                opened += again
                files |= _known(before, listener.bind)
                continue
            group = listeners[listener.name] = open_group(listener.bind, workers)
            opened += group
            files |= file_of(listener.bind)
        if new.admin is not False:
            bind = new.admin.bind
            if old.admin is not False and old.admin.bind == bind:
                admin = before.admin
                files |= _known(before, bind)
            else:
                admin = _open_admin(bind)
                opened.append(admin)
                files |= file_of(bind)
        if new.mcmp is not False:
            mcmp = _mcmp_again(before.mcmp, old.mcmp, new.mcmp, opened)
            bind = new.mcmp.bind
            same = old.mcmp is not False and old.mcmp.bind == bind
            files |= _known(before, bind) if same else file_of(bind)
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return Sockets(listeners, admin, mcmp, files)


def close_unused(
    before: Sockets, after: Sockets, others: Mapping[str, socket.socket] | None = None
) -> None:
    """Close the sockets that another configuration does not name, and remove their files.

    Args: others: those that a data plane has, which closes them itself when it has taken in who
    waits there.
    """
    let_go_unused(before, after, others)
    remove_files({path: mark for path, mark in before.files.items() if path not in after.files})


def let_go_unused(
    before: Sockets, after: Sockets, others: Mapping[str, socket.socket] | None = None
) -> None:
    """Do the same, but leave the files to the process that has made them."""
    used = {id(sock) for sock in (*after.all(), *(others or {}).values())}
    for sock in before.all():
        if id(sock) not in used:
            sock.close()


def _known(sockets: Sockets, bind: Bind) -> dict[str, FileMark | None]:
    return {bind.path: sockets.files[bind.path]} if bind.path in sockets.files else {}


def _open_admin(bind: Bind) -> socket.socket:
    return open_socket(bind, _ADMIN_BACKLOG, mode=_PRIVATE, what="admin.bind", error=AdminBindError)


def _open_mcmp(bind: Bind) -> socket.socket:
    return open_socket(bind, _MCMP_BACKLOG, mode=_PRIVATE, what="mcmp.bind", error=McmpBindError)


def _mcmp_again(
    before: McmpSockets | None,
    old: McmpSettings | Literal[False],
    new: McmpSettings,
    opened: list[socket.socket],
) -> McmpSockets:
    """Return the sockets of MCMP in another configuration. Args: opened: takes those that are new.

    Raises: McmpBindError.
    """
    if before is not None and old is not False and old.bind == new.bind:
        listening = before.listening
    else:
        listening = _open_mcmp(new.bind)
        opened.append(listening)
    if new.advertise is False:
        return McmpSockets(listening)
    sending = before.sending if before is not None else None
    v6 = new.advertise.group.startswith("[")
    if sending is None or (sending.family == socket.AF_INET6) != v6:
        sending = _sender(new.advertise.group)
        opened.append(sending)
    if before is not None and (before.listening, before.sending) == (listening, sending):
        return before
    return McmpSockets(listening, sending)


def port_of(sock: socket.socket | None) -> int:
    """Return the TCP port of a listening socket; 0 for a Unix socket, or none."""
    name = sock.getsockname() if sock is not None else None
    return int(name[1]) if isinstance(name, tuple) else 0


def open_group(bind: Bind, count: int) -> tuple[socket.socket, ...]:
    """Return listening sockets at one address, among which the kernel spreads new connections.

    One for a Unix socket. Raises: BindError: then none is left open.
    """
    first = open_socket(bind)
    if count == 1 or bind.path:
        return (first,)
    # The first one was opened as if it were the only one, to meet whoever listens there already:
    # a group lets in another process of the same user.
    found = replace(bind, port=port_of(first))
    first.close()
    group: list[socket.socket] = []
    try:
        for _ in range(count):
            group.append(open_socket(found, shared=True))
    except BindError:
        for sock in group:
            sock.close()
        raise
    return tuple(group)


def open_socket(
    bind: Bind,
    backlog: int = BACKLOG,
    *,
    shared: bool = False,
    mode: int | None = None,
    what: str = "cannot listen on",
    error: type[BindError] = BindError,
) -> socket.socket:
    """Return a listening socket, not blocking.

    Args: shared: others may be opened at its address; mode: of a Unix socket's file, None to leave
    it to the umask; what: begins the text of an error. Raises: `error`.
    """
    try:
        return _listening(bind, backlog, mode, shared)
    except OSError as cause:
        raise error(f"{what} {bind}: {why_not_bound(bind, cause)}") from None


def _sender(group: str) -> socket.socket:
    """Return the socket that sends advertisements to a group. Raises: McmpBindError."""
    try:
        return open_sender(6 if group.startswith("[") else 4)
    except OSError as cause:
        raise McmpBindError(f"mcmp.advertise.group {group}: {cause.strerror}") from None


def _listening(bind: Bind, backlog: int, mode: int | None, shared: bool) -> socket.socket:
    """Raises: OSError."""
    sock = _unix_socket(bind.path, mode) if bind.path else _tcp_socket(bind, shared)
    try:
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _tcp_socket(bind: Bind, shared: bool) -> socket.socket:
    family, address = tcp_address(bind)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # `[::]` means every address of the machine, as in nginx and HAProxy.
            only_v6 = 0 if bind.host == "::" else 1
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: str, mode: int | None) -> socket.socket:
    """Return a socket at `path`, in the place of one whose process died."""
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        if mode is not None:
            os.chmod(path, mode)  # before listen(): nobody connects in between
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket that an earlier process left behind, and nothing else.

    Raises: FileExistsError: something else is there.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "not a socket", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def file_of(bind: Bind) -> dict[str, FileMark | None]:
    """Return the file of a Unix socket that was opened just now, for `remove_files`."""
    return {bind.path: mark_of(bind.path)} if bind.path else {}


def remove_files(files: Mapping[str, FileMark | None]) -> None:
    """Remove files of Unix sockets, but for one that another process has put in their place."""
    for path, mark in files.items():
        if mark is not None and mark_of(path) == mark:
            with contextlib.suppress(OSError):  # the next start replaces one that stays
                os.unlink(path)
