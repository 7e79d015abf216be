"""Advertises the MCMP listener by multicast, so that nodes find it without a list of proxies.

One UDP socket sends by every interface; nothing is received, and no privilege is needed. What is in
the way at an interface is logged once with the command that helps, and tried again until it works.
An id belongs to one address: nodes act only on the first datagram of an id.

Source: MCMP reference, section 9.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from uuid import UUID, uuid4

from lbproxy.config import secrets
from lbproxy.config.sources import AdvertiseSettings
from lbproxy.config.units import format_duration
from lbproxy.net.interfaces import Interface, Ip
from lbproxy.net.multicast import (
    NOWHERE,
    Group,
    Lack,
    Place,
    no_flag,
    parse_group,
    plan,
    source_of,
)
from lbproxy.net.sender import send_by
from lbproxy.net.watch import Interfaces, InterfaceWatcher
from lbproxy.wire.advertise import Advertisement, render, salt, unreachable

_log = logging.getLogger("lbproxy.advertise")
_WHAT_HELPS = {
    errno.EPERM: "a firewall of this machine refuses it; look at `nft list ruleset`",
    errno.EACCES: "a firewall of this machine refuses it; look at `nft list ruleset`",
    errno.ENOBUFS: "its queue is full; look at `ip -s link`",
}


class AdvertiseError(Exception):
    """Advertising cannot start; the text says what to do."""


def read_key(path: str, what: str = "mcmp.advertise.key_file") -> bytes:
    """Return the security key in a file, without the end of its line.

    Args: what: how the person at hand named the file. Raises: AdvertiseError for no file, no key,
    or one that nodes would read differently.
    """
    try:
        return secrets.read_key(path)
    except OSError as error:
        raise AdvertiseError(f"{what} {path}: {error.strerror}") from None
    except ValueError as error:
        raise AdvertiseError(f"{what} {error}") from None


class _Sender:
    """What one interface sends: an id with its address, and how far it has counted.

    It outlives its place: with a new id for each time that a link was down, nodes would remember
    more and more of them.
    """

    def __init__(self, said: Advertisement) -> None:
        self.said = said
        self.place: Place | None = None
        self.trouble = ""
        self._sequence = 0

    def tells(self, address: str, port: int, scheme: str) -> bool:
        """Return True if that is the listener which it advertises."""
        said = self.said
        return (said.address, said.port, said.scheme) == (address, port, scheme)

    def move(self, place: Place | None) -> None:
        """Send from there from now on, or from nowhere."""
        self.place = place
        self.trouble = ""

    def send(self, sock: socket.socket, group: Group, seconds: float, salted: bytes) -> None:
        """Send one datagram, now or never. Raises: OSError."""
        assert self.place is not None
        self._sequence += 1
        datagram = render(self.said, self._sequence, seconds, salted)
        send_by(sock, self.place, datagram, (group.ip, group.port))


@dataclass(slots=True)
class Senders:
    """What one advertiser leaves to the next one, so that nodes do not notice, and nothing is said
    twice.

    Args: by_interface: who sends there; lacks: what is in the way there, and was said; told: what
    was said of the group.
    """

    by_interface: dict[str, _Sender] = field(default_factory=dict)
    lacks: dict[str, Lack] = field(default_factory=dict)
    told: str = ""


class Advertiser:
    """Sends advertisements from start() to stop(), on the event loop's thread.

    Args: sending: socket of `open_sender`, for the group's version of the protocol; it stays its
    owner's; address: the MCMP listener's, port not 0; scheme: of that listener; machine: the
    interfaces of this one; now: seconds since 1970; new_id: for each start and each new address;
    senders: of the advertiser before, to go on from.
    Raises: AdvertiseError for a group or a key file that cannot be used.
    """

    def __init__(
        self,
        settings: AdvertiseSettings,
        sending: socket.socket,
        address: tuple[str, int],
        scheme: Literal["http", "https"],
        *,
        machine: Interfaces | None = None,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], UUID] = uuid4,
        senders: Senders | None = None,
    ) -> None:
        try:
            self._group = parse_group(settings.group)
        except ValueError as error:
            raise AdvertiseError(f"mcmp.advertise.group: {error}") from None
        try:
            self._bound: Ip = ip_address(address[0])
        except ValueError:
            raise AdvertiseError(
                f"mcmp.bind {address[0]} cannot be advertised: write an address, not a name"
            ) from None
        flaw = None if self._bound.is_unspecified else unreachable(self._bound)
        if flaw is not None:
            raise AdvertiseError(f"mcmp.bind {address[0]} cannot be advertised: {flaw}")
        key = None if settings.key_file is None else read_key(settings.key_file)
        self._salted = salt(key)
        self._key_set = key is not None
        self._settings = settings
        self._sending = sending
        self._port = address[1]
        self._scheme = scheme
        self._machine: Interfaces = machine if machine is not None else InterfaceWatcher()
        self._now = now
        self._new_id = new_id
        known = Senders() if senders is None else senders
        self._senders, self._lacks, self._told = known.by_interface, known.lacks, known.told
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    @property
    def senders(self) -> Senders:
        """What another one can go on from; stop() takes nothing of it away."""
        return Senders(dict(self._senders), dict(self._lacks), self._told)

    async def start(self) -> None:
        """Send the first datagrams, then one every interval and interface. Never raises."""
        loop = asyncio.get_running_loop()
        told = (
            f"{self._group} every {format_duration(self._settings.interval)}; "
            f"security key {'set' if self._key_set else 'not set'}"
        )
        if told != self._told:
            _log.info("advertising the MCMP listener to %s", told)
        self._told = told
        self._machine.start(self._look)
        self._look()
        self._due = loop.time() + self._settings.interval
        self._timer = loop.call_at(self._due, self._tick)

    async def stop(self) -> None:
        """Send no more; may be called again. Nodes are not told: they know no farewell."""
        self._machine.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._senders.clear()
        self._lacks.clear()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for sender in self._senders.values():
            self._send(sender)
        # From when it was due, not from now, or a late one would make all later ones late.
        interval = self._settings.interval
        self._due += interval * (1 + max(0.0, loop.time() - self._due) // interval)
        self._timer = loop.call_at(self._due, self._tick)

    def _look(self) -> None:
        """Bring the senders in line with the interfaces as they are now."""
        interfaces = {each.name: each for each in self._machine.interfaces()}
        planned = plan(
            tuple(interfaces.values()), self._group, self._bound, self._settings.interfaces
        )
        for name in [name for name in self._senders if name not in planned]:
            self._leave(name, self._reason(interfaces.get(name)))
        for name, found in planned.items():
            if isinstance(found, Lack):
                self._lack(name, found)
            else:
                self._join(found, no_flag(interfaces[name]))
        for name in [name for name in self._senders if name not in interfaces]:
            del self._senders[name]
        for name in [name for name in self._lacks if name not in planned]:
            del self._lacks[name]

    def _reason(self, interface: Interface | None) -> str:
        """Return why nothing is sent at an interface any more that was not named."""
        if interface is None:
            return "it is gone"
        source = source_of(interface, self._group)
        lack = source if isinstance(source, Lack) else no_flag(interface)
        return str(lack) if lack is not None else f"nodes there could not come to {self._bound}"

    def _join(self, place: Place, hint: Lack | None) -> None:
        self._lacks.pop(place.name, None)
        sender = self._senders.get(place.name)
        there = (str(place.advertised), self._port, self._scheme)
        if sender is not None and sender.tells(*there):
            if sender.place == place:
                return
        else:
            said = Advertisement(self._new_id(), *there)
            sender = self._senders[place.name] = _Sender(said)
        sender.move(place)
        _log.info(
            "advertising %s on %s%s",
            *(sender.said.manager, place.name, f"; nodes may need: {hint}" if hint else ""),
        )
        self._send(sender)

    def _lack(self, name: str, lack: Lack) -> None:
        if not self._leave(name, str(lack)) and self._lacks.get(name) != lack:
            where = "anywhere" if name == NOWHERE else f"on {name}"
            _log.warning("not advertising %s: %s", where, lack)
        self._lacks[name] = lack

    def _leave(self, name: str, reason: str) -> bool:
        """Send there no more; return False if nothing was sent before."""
        sender = self._senders.get(name)
        if sender is None or sender.place is None:
            return False
        sender.move(None)
        _log.warning("no longer advertising on %s: %s", name, reason)
        return True

    def _send(self, sender: _Sender) -> None:
        if sender.place is None:
            return
        try:
            sender.send(self._sending, self._group, self._now(), self._salted)
        except OSError as error:
            code = error.errno or 0
            trouble = os.strerror(code)
            if trouble != sender.trouble:
                helps = _WHAT_HELPS.get(code, "look at `lbproxy net status`")
                _log.warning("cannot advertise on %s: %s; %s", sender.place.name, trouble, helps)
            sender.trouble = trouble
            return
        if sender.trouble:
            _log.info("advertising on %s again", sender.place.name)
            sender.trouble = ""
