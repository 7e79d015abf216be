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
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lbproxy.config.addresses import Bind
from lbproxy.config.schema import Config
from lbproxy.control.mcmp.part import McmpSockets
from lbproxy.files import FileMark, mark_of
from lbproxy.net.sender import open_sender
from lbproxy.proxy.downstream.listener import BACKLOG
from lbproxy.runtime.binding import tcp_address, why_not_bound
from lbproxy.runtime.passed import PassedSockets, completed

_ADMIN_BACKLOG = 128  # what aiohttp sets again
_MCMP_BACKLOG = 1024  # after a restart all nodes come at once
_PRIVATE = 0o600


class BindError(Exception):
    """An address cannot be listened on; the text says which, why, and what to do."""


class AdminBindError(BindError):
    """The admin API's address cannot be listened on."""


class McmpBindError(BindError):
    """The MCMP listener's address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Binds:
    """What sockets are opened for.

    Args: listeners: by name; admin, mcmp: None if the configuration has none; group: of the
    advertisements, None to send none.
    """

    listeners: Mapping[str, Bind] = field(default_factory=dict)
    admin: Bind | None = None
    mcmp: Bind | None = None
    group: str | None = None


def binds_of(config: Config) -> Binds:
    """Return what the sockets of a configuration are opened for."""
    mcmp = config.mcmp
    advertise = mcmp is not False and mcmp.advertise
    return Binds(
        {each.name: each.bind for each in config.listeners},
        None if config.admin is False else config.admin.bind,
        None if mcmp is False else mcmp.bind,
        advertise.group if advertise else None,
    )


@dataclass(frozen=True, slots=True)
class Sockets:
    """What is listened on, and what advertises it, not blocking. Owns the sockets and the files of
    Unix sockets.

    Args: listeners: by name, a socket for each worker, or one for all; admin, mcmp: None if the
    configuration has none; files: of Unix sockets, with what tells each from one that another
    process has put in its place; binds: what they were opened for; passed: listeners whose sockets
    the service manager has opened.
    """

    listeners: Mapping[str, tuple[socket.socket, ...]] = field(default_factory=dict)
    admin: socket.socket | None = None
    mcmp: McmpSockets | None = None
    files: Mapping[str, FileMark | None] = field(default_factory=dict)
    binds: Binds = field(default_factory=Binds, compare=False)
    passed: frozenset[str] = field(default=frozenset(), compare=False)

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
        """Return those of them that nobody else accepts on."""
        return {
            name: members[place]
            for name, members in self.listeners.items()
            if len(members) > max(1, place)
        }

    def beyond(self, place: int, workers: int) -> dict[int, dict[str, socket.socket]]:
        """Return the sockets that are at places for which there is no worker, by that place, as far
        as the worker at this place accepts on them, too.

        The service manager holds them open, so the kernel gives them connections.
        """
        most = max((len(members) for members in self.listeners.values()), default=0)
        return {each: self.own_of(each) for each in range(workers, most) if each % workers == place}


def open_all(
    config: Config, workers: int | None = None, passed: PassedSockets | None = None
) -> Sockets:
    """Open the sockets of a configuration: listeners, admin API, MCMP with its advertisements.

    Args: workers: that accept, each on a socket of its own; None for this process alone; passed:
    taken instead, by those that they are for; the others are closed.
    Raises: BindError: then none is left open.
    """
    before = taken(passed or PassedSockets(), config)
    try:
        return open_again(before, config, workers)
    except BaseException:
        before.let_go()
        raise


def taken(passed: PassedSockets, config: Config) -> Sockets:
    """Return what was passed for somebody as if it had been opened before; close the rest.

    Done before anything is opened: what is left may be why that fails.
    """
    binds = binds_of(config)
    listeners = {
        name: members
        for name, bind in binds.listeners.items()
        if (members := passed.take(f"listener {name}", name, bind))
    }
    admin = None if binds.admin is None else passed.take_one("admin", binds.admin)
    mcmp = None if binds.mcmp is None else passed.take_one("mcmp", binds.mcmp)
    passed.close()
    return Sockets(
        listeners,
        admin,
        None if mcmp is None else McmpSockets(mcmp),
        binds=replace(
            binds, listeners={name: binds.listeners[name] for name in listeners}, group=None
        ),
        passed=frozenset(listeners),
    )


def open_again(before: Sockets, config: Config, workers: int | None = None) -> Sockets:
    """Return the sockets of another configuration: those that both name are the same ones.

    Args: workers: as of `open_all`. Raises: BindError: then nothing is left open that was not
    before.
    """
    opening = _Opening(before, workers)
    try:
        return opening.all(binds_of(config))
    except BaseException:
        opening.undo()
        raise


class _Opening:
    """Opens what is not open yet. Args: as of `open_again`."""

    def __init__(self, before: Sockets, workers: int | None) -> None:
        self._before = before
        self._workers = workers
        self._opened: list[socket.socket] = []
        self._files: dict[str, FileMark | None] = {}
        self._passed: set[str] = set()

    def all(self, binds: Binds) -> Sockets:
        """Return the sockets of all. Raises: BindError."""
        return Sockets(
            {name: self._listener(name, bind) for name, bind in binds.listeners.items()},
            None if binds.admin is None else self._admin(binds.admin),
            None if binds.mcmp is None else self._mcmp(binds.mcmp, binds.group),
            self._files,
            binds,
            frozenset(self._passed),
        )

    def undo(self) -> None:
        """Close what was opened, and remove its files."""
        for sock in self._opened:
            sock.close()
        known = self._before.files
        remove_files({path: mark for path, mark in self._files.items() if path not in known})

    def _listener(self, name: str, bind: Bind) -> tuple[socket.socket, ...]:
        before = self._before
        if before.binds.listeners.get(name) == bind:
            self._keep_file(bind)
            return self._fit(name, name, before.listeners[name])
        if bind.port or bind.path:
            for other, its in before.binds.listeners.items():
                if its == bind:
                    # It has another name now, or changes places with another: the address stays
                    # open.
                    self._keep_file(bind)
                    again = tuple(sock.dup() for sock in before.listeners[other])
                    self._opened += again
                    return self._fit(name, other, again)
        group = open_group(bind, self._workers)
        self._opened += group
        self._files |= file_of(bind)
        return group

    def _fit(
        self, name: str, before: str, members: tuple[socket.socket, ...]
    ) -> tuple[socket.socket, ...]:
        """Return a group with as many members as there are workers.

        Args: before: the name that the listener had. Of what was passed none is left out: the
        service manager keeps it open, and clients would wait there for nobody.
        """
        count = self._workers
        passed = before in self._before.passed
        if passed:
            self._passed.add(name)
        if count is None or members[0].family == socket.AF_UNIX or len(members) == count:
            return members
        if passed:
            group = completed(name, members, count)
            self._opened += group[len(members) :]
            return group
        missing = tuple(join_group(members[0]) for _ in range(count - len(members)))
        self._opened += missing
        return (*members, *missing)[:count]

    def _admin(self, bind: Bind) -> socket.socket:
        if self._before.binds.admin == bind and self._before.admin is not None:
            self._keep_file(bind)
            return self._before.admin
        return self._open(bind, _ADMIN_BACKLOG, "admin.bind", AdminBindError)

    def _mcmp(self, bind: Bind, group: str | None) -> McmpSockets:
        before = self._before.mcmp
        if self._before.binds.mcmp == bind and before is not None:
            self._keep_file(bind)
            listening = before.listening
        else:
            listening = self._open(bind, _MCMP_BACKLOG, "mcmp.bind", McmpBindError)
        sending = None
        if group is not None:
            family = socket.AF_INET6 if group.startswith("[") else socket.AF_INET
            sending = None if before is None else before.sending
            if sending is None or sending.family != family:
                sending = _sender(group)
                self._opened.append(sending)
        if before is not None and (before.listening, before.sending) == (listening, sending):
            return before
        return McmpSockets(listening, sending)

    def _open(self, bind: Bind, backlog: int, what: str, error: type[BindError]) -> socket.socket:
        sock = open_socket(bind, backlog, mode=_PRIVATE, what=what, error=error)
        self._opened.append(sock)
        self._files |= file_of(bind)
        return sock

    def _keep_file(self, bind: Bind) -> None:
        if bind.path in self._before.files:
            self._files[bind.path] = self._before.files[bind.path]


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


def port_of(sock: socket.socket | None) -> int:
    """Return the TCP port of a listening socket; 0 for a Unix socket, or none."""
    name = sock.getsockname() if sock is not None else None
    return int(name[1]) if isinstance(name, tuple) else 0


def open_group(bind: Bind, workers: int | None) -> tuple[socket.socket, ...]:
    """Return listening sockets at one address, among which the kernel spreads new connections.

    One for a Unix socket. Args: workers: as of `open_all`. Raises: BindError: then none is left
    open.
    """
    first = open_socket(bind)
    if workers is None or bind.path:
        return (first,)
    # The first one was opened as if it were the only one, to meet whoever listens there already:
    # a group lets in another process of the same user.
    found = replace(bind, port=port_of(first))
    first.close()
    group: list[socket.socket] = []
    try:
        for _ in range(workers):
            group.append(open_socket(found, shared=True))
    except BindError:
        for sock in group:
            sock.close()
        raise
    return tuple(group)


def join_group(member: socket.socket) -> socket.socket:
    """Return one more listening socket at the address of a group. Raises: BindError."""
    host, port = member.getsockname()[:2]
    return open_socket(Bind(host=host, port=port), shared=True)


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
