"""Addresses of names instead of those in DNS: examines a cut-over before DNS changes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

_PIN = re.compile(r"\+?(\[[^\]]+\]|[^:\[\]]+):([0-9]{1,5}):(.+)")
_FORM = "write HOST:PORT:ADDRESS[,ADDRESS]..., IPv6 addresses in brackets"
ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Pin:
    """The address for connections to a host and port. Args: host: as in an Origin, or ANY_HOST."""

    host: str
    port: int
    addresses: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pin of a text as `curl --resolve` takes it. Raises: ValueError."""
        found = _PIN.fullmatch(text)
        if found is None or not 0 < int(found[2]) < 65536:
            raise ValueError(f"{text}: {_FORM}")
        try:
            addresses = tuple(_address(each) for each in found[3].split(","))
            host = ascii_host(found[1])
            if found[1].startswith("["):
                host = str(ip_address(found[1][1:-1]))
        except ValueError as error:
            raise ValueError(f"{text}: {error}; {_FORM}") from None
        return cls(host, int(found[2]), addresses)


@dataclass(frozen=True, slots=True)
class Pins:
    """Every pin. The later of two for the same host and port counts."""

    pins: tuple[Pin, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Return the pins of several texts. Raises: ValueError."""
        return cls(tuple(Pin.parse(text) for text in texts))

    def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses for connections, in turn: the host itself if it has no pin."""
        for name in (host, ANY_HOST):
            for pin in reversed(self.pins):
                if (pin.host, pin.port) == (name, port):
                    return pin.addresses
        return (host,)

    def names(self, host: str) -> bool:
        """True if some port of this host is pinned."""
        return any(pin.host in (host, ANY_HOST) for pin in self.pins)

    def pinned(self, host: str, port: int) -> bool:
        """True if connections there do not go by DNS."""
        return any(pin.host in (host, ANY_HOST) and pin.port == port for pin in self.pins)


NO_PINS = Pins()


def ascii_host(host: str) -> str:
    """Return a host as it stands in DNS and in a Host field. Raises: ValueError."""
    try:
        plain = host if host.isascii() and ".." not in host else host.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{host} is no host name; write https://host") from None
    return plain.lower()


def _address(text: str) -> str:
    """Return an address without brackets. Raises: ValueError."""
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        address = ip_address(text[1:-1] if bracketed else text)
    except ValueError:
        raise ValueError(f"{text} is no address") from None
    if bracketed and address.version == 4:
        raise ValueError(f"{text} is no address")
    return str(address)
