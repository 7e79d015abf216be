"""Hears what is sent to a multicast group, and on which interface it came; for people who look.

Blocking, for commands only. It joins as a node does, and takes nothing away from other listeners.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from lbproxy.net.interfaces import Interface
from lbproxy.net.multicast import Group, Lack

# More than a node reads, so that it shows if a datagram is too long.
MAX_HEARD = 2048
_IP_PKTINFO = 8  # Linux; the socket module has these from later versions on
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
_V4_INFO = struct.Struct("=i4s4s")
_V6_INFO = struct.Struct("=16si")


class ListenError(Exception):
    """Listening is not possible; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One datagram. Args: sender: address and port, as people write them; index: of the interface,
    0 if the kernel did not say.
    """

    datagram: bytes
    sender: str
    index: int


class GroupListener:
    """Joins a group on some interfaces. Args: interfaces: where; those that refuse are in `lacks`.

    Raises: ListenError if the port cannot be had, or no interface lets it join.
    Owns: the socket, until close().
    """

    def __init__(self, group: Group, interfaces: Sequence[Interface]) -> None:
        self._group = group
        self.joined: list[Interface] = []
        self.lacks: list[Lack] = []
        v6 = group.ip.version == 6
        self._socket = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._bind()
            for interface in interfaces:
                self._join(interface)
        except OSError as error:
            self.close()
            raise ListenError(f"cannot listen to {group}: {_explain(error)}") from None
        if not self.joined:
            self.close()
            reasons = "; ".join(map(str, self.lacks)) or "no interface is ready for it"
            raise ListenError(f"cannot join {group.ip} anywhere: {reasons}")

    def receive(self, timeout_s: float) -> Heard | None:
        """Return the next datagram, None if none came in time. Raises: OSError."""
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            datagram, ancillary, _, sender = self._socket.recvmsg(MAX_HEARD, 256)
        except TimeoutError:
            return None
        index, destination = _arrival(ancillary)
        if destination not in (b"", self._group.ip.packed):
            return None  # the port is shared with whatever is sent to it directly
        host = f"[{sender[0]}]" if self._group.ip.version == 6 else sender[0]
        return Heard(datagram, f"{host}:{sender[1]}", index)

    def close(self) -> None:
        """Leave the group; may be called again."""
        self._socket.close()

    def _bind(self) -> None:
        sock = self._socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Without ..._ALL off, it would hear what other programs here have joined.
        if self._group.ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            sock.bind(("::", self._group.port))
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            sock.bind(("0.0.0.0", self._group.port))

    def _join(self, interface: Interface) -> None:
        group = self._group.ip.packed
        try:
            if self._group.ip.version == 6:
                request = struct.pack("=16si", group, interface.index)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            else:
                request = struct.pack("=4s4si", group, bytes(4), interface.index)
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        except OSError as error:
            self.lacks.append(Lack(f"{interface.name}: {_explain(error)}"))
        else:
            self.joined.append(interface)


def _arrival(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[int, bytes]:
    """Return the interface's index and the destination's address, 0 and b"" if unknown."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) >= _V4_INFO.size:
            index, _, destination = _V4_INFO.unpack_from(data)
            return index, destination
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            destination, index = _V6_INFO.unpack_from(data)
            return index, destination
    return 0, b""


def _explain(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "its port is held by a program that does not share it; see `ss -lunp`"
        case errno.ENOBUFS:
            return "too many groups are joined; raise `sysctl net.ipv4.igmp_max_memberships`"
        case _:
            return error.strerror or str(error)
