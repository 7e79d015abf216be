"""Listening sockets that the service manager has opened, and passes to the process that it starts.

systemd opens what a socket unit names, keeps it open over a restart, and starts the service with
it. Each is known by its name, FileDescriptorName= of its unit, and by its address.

Source: systemd, sd_listen_fds(3), systemd.socket(5).
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass

from lbproxy.config.addresses import Bind
from lbproxy.proxy.downstream.listener import BACKLOG
from lbproxy.runtime.binding import tcp_address

FIRST = 3  # descriptor of the first one
_MOST = 1024  # no unit names more; a number beyond is a mistake, and every one is a system call
_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")

_log = logging.getLogger("lbproxy.process")


@dataclass(frozen=True, slots=True)
class PassedSocket:
    """One of them, not blocking. Args: name: "" if it has none."""

    name: str
    sock: socket.socket

    def __str__(self) -> str:
        address = self.sock.getsockname()
        if isinstance(address, tuple):
            shown = str(Bind(host=str(address[0]), port=int(address[1])))
        else:
            shown = f"unix:{address}" if isinstance(address, str) else "unix"
        return f"{self.name} ({shown})" if self.name else shown

    def is_named_for(self, name: str, bind: Bind) -> bool:
        """Return True if its name says that it is this listener's, and nothing speaks against it.

        A unit gives all its sockets one name, so its port has to be right as well; the address may
        be another one than the file says: the unit decides.
        """
        if self.name != name or bool(bind.path) != (self.sock.family == socket.AF_UNIX):
            return False
        return bool(bind.path) or bind.port in (0, self.sock.getsockname()[1])

    def is_at(self, bind: Bind) -> bool:
        """Return True if its address is this one."""
        if bind.path or self.sock.family == socket.AF_UNIX:
            return bool(bind.path) and self.sock.getsockname() == bind.path
        try:
            family, address = tcp_address(bind)
        except OSError:
            return False
        return self.sock.family == family and self.sock.getsockname()[:2] == address[:2]


class PassedSockets:
    """Those that nobody has taken yet. Owns: them."""

    def __init__(self, passed: Iterable[PassedSocket] = ()) -> None:
        self._left = [*passed]

    def take(self, whose: str, name: str, bind: Bind) -> tuple[socket.socket, ...]:
        """Return the sockets of a listener, which are the caller's now; none if there are none.

        More than one are a group, at one address.
        Args: whose: they are, for the log; name: by which a unit may mean it.
        """
        found = [each for each in self._left if each.is_named_for(name, bind)]
        found = found or [each for each in self._left if each.is_at(bind)]
        if not found:
            return ()
        address = found[0].sock.getsockname()
        group = [each for each in found if each.sock.getsockname() == address]
        self._left = [each for each in self._left if each not in group]
        _log.info("%s accepts on what was passed: %s", whose, group[0])
        if not group[0].is_at(bind):
            _log.warning("%s: %s was passed, so bind %s does not hold", whose, group[0], bind)
        return tuple(each.sock for each in group)

    def take_one(self, name: str, bind: Bind) -> socket.socket | None:
        """Return the one socket of a section of that name, None if there is none; as `take`."""
        group = self.take(name, name, bind)
        if not group:
            return None
        self._left += [PassedSocket(name, each) for each in group[1:]]
        return group[0]

    def close(self) -> None:
        """Close those that are left, and say which."""
        for each in self._left:
            _log.warning(
                "the socket %s that was passed is no listener's: closed; FileDescriptorName= must "
                "be a listener's name and the port that of its bind, or its address the same",
                each,
            )
            each.sock.close()
        self._left.clear()


def passed_to(environment: MutableMapping[str, str], pid: int, first: int = FIRST) -> PassedSockets:
    """Return the sockets that were passed to a process; those that cannot be used are closed.

    Args: environment: the variables that tell of them are removed, so that no child takes them for
    its own; pid: of this process; first: descriptor of the first one.
    """
    said = {name: environment.pop(name, "") for name in _VARIABLES}
    if said["LISTEN_PID"] != str(pid):
        return PassedSockets()  # they are another one's
    try:
        count = int(said["LISTEN_FDS"])
        if not 0 <= count <= _MOST:
            raise ValueError
    except ValueError:
        _log.warning("LISTEN_FDS is %r, no number of sockets: ignored", said["LISTEN_FDS"])
        return PassedSockets()
    names = said["LISTEN_FDNAMES"].split(":") if said["LISTEN_FDNAMES"] else []
    found = []
    for number in range(count):
        name = names[number] if number < len(names) else ""
        passed = _passed(name, first + number)
        if passed is not None:
            found.append(passed)
    return PassedSockets(found)


def _passed(name: str, descriptor: int) -> PassedSocket | None:
    """Return what a descriptor is, None if it is no socket to accept on: then it is closed."""
    why = "is no socket"
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            sock = socket.socket(fileno=descriptor)
            sock.set_inheritable(False)
            sock.setblocking(False)
            why = _why_not(sock)
            if not why:
                return PassedSocket(name, sock)
            sock.close()
        else:
            os.close(descriptor)
    except OSError as error:
        why = f"cannot be used: {error.strerror}"
    shown = f"{name} (descriptor {descriptor})" if name else f"descriptor {descriptor}"
    _log.warning("what was passed as %s %s: closed", shown, why)
    return None


def _why_not(sock: socket.socket) -> str:
    """Return why nobody can accept on a socket, "" if that can be done."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return "is of no family that lbproxy speaks"
    if sock.type != socket.SOCK_STREAM:
        return "is for datagrams (ListenDatagram=), lbproxy wants ListenStream="
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "does not listen; lbproxy accepts by itself (Accept=no)"
    return ""


def completed(
    name: str, members: tuple[socket.socket, ...], workers: int
) -> tuple[socket.socket, ...]:
    """Return sockets that were passed with others at their address, so that each worker has one.

    The kernel lets in those of the same user, if the first ones allow it (SO_REUSEPORT). Else the
    workers share what there is.
    """
    first = members[0]
    if len(members) >= workers or first.family == socket.AF_UNIX:
        return members
    more: list[socket.socket] = []
    why = "ReusePort= of its unit is not set"
    if all(each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for each in members):
        try:
            while len(members) + len(more) < workers:
                more.append(_beside(first))
            return (*members, *more)
        except OSError as error:
            why = f"{error.strerror}: only what the same user has opened may stand beside it"
            for each in more:
                each.close()
    _log.warning(
        "listener %s: %d workers accept on %d socket(s) that were passed, so their load is uneven; "
        "no more can be opened beside (%s): see the documentation of socket activation",
        name,
        workers,
        len(members),
        why,
    )
    return members


def _beside(sock: socket.socket) -> socket.socket:
    """Return another listening socket at the address of one. Raises: OSError."""
    another = socket.socket(sock.family, socket.SOCK_STREAM)
    try:
        for level, option in (
            (socket.SOL_SOCKET, socket.SO_REUSEADDR),
            (socket.SOL_SOCKET, socket.SO_REUSEPORT),
            *([(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)] * (sock.family == socket.AF_INET6)),
        ):
            another.setsockopt(level, option, sock.getsockopt(level, option))
        another.bind(sock.getsockname())
        another.listen(BACKLOG)
        another.setblocking(False)
    except OSError:
        another.close()
        raise
    return another
