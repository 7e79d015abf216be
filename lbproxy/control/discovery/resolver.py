"""Names become addresses and services: the hosts file first, then DNS.

aiodns (c-ares) does what is on the wire: servers, tries, EDNS, and TCP if an answer was cut
short. The rest is done here, because its own ways lose what is needed: which of the two kinds of
address failed, and how long an answer may be kept.

- A name that the hosts file knows is not asked for in DNS, neither for its other kind of address.
- Names are completed by the search list as resolv.conf(5) says, for SRV as well. A question that
  fails ends the search: what another domain says would be the answer to another name.
- c-ares keeps answers for as long as they say, an hour and more. So that `max_ttl` holds, a
  channel of it is used for `min_ttl` and no longer.

Source: RFC 1035, RFC 2782, RFC 2308 (no data); resolver(5).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Literal

import aiodns
import pycares
from aiodns import error as ares

from lbproxy.config.sources import ResolverSettings
from lbproxy.control.discovery.system_names import SystemNames

TRIES = 2  # at each server
# c-ares ends every question by itself; this bound holds if it should not: two tries at three
# servers, the second of them with twice the time.
PATIENCE = 10
MAX_QUESTIONS = 64  # at once: 1,000 names must not flood a server

Kind = Literal["A", "AAAA", "SRV"]


class Fault(Enum):
    """Why a name gives nothing, as a person reads it."""

    NXDOMAIN = "NXDOMAIN, there is no such name"
    NO_DATA = "the name has no such records"
    SERVFAIL = "SERVFAIL, the DNS server failed"
    REFUSED = "REFUSED, the DNS server does not answer for this name"
    TIMEOUT = "no answer from DNS in time"
    UNREACHABLE = "no DNS server can be reached"
    BAD_ANSWER = "the answer is no valid message of DNS"
    BAD_NAME = "no valid name"
    OTHER = "DNS failed"

    @property
    def certain(self) -> bool:
        """True if DNS says that there is nothing, rather than that it does not know."""
        return self in (Fault.NXDOMAIN, Fault.NO_DATA)


_FAULTS = {
    ares.ARES_ENOTFOUND: Fault.NXDOMAIN,
    ares.ARES_ENODATA: Fault.NO_DATA,
    ares.ARES_ESERVFAIL: Fault.SERVFAIL,
    ares.ARES_EREFUSED: Fault.REFUSED,
    ares.ARES_ETIMEOUT: Fault.TIMEOUT,
    ares.ARES_ECONNREFUSED: Fault.UNREACHABLE,
    ares.ARES_EBADRESP: Fault.BAD_ANSWER,
    ares.ARES_EBADNAME: Fault.BAD_NAME,
}


class ResolveError(Exception):
    """A name gave nothing. Args: name: what was asked for last; detail: what `fault` leaves out."""

    def __init__(self, fault: Fault, name: str, detail: str = "") -> None:
        self.fault = fault
        self.name = name
        self.reason = fault.value + (f" ({detail})" if detail else "")
        super().__init__(f"{name}: {self.reason}")


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a name leads to.

    Args: addresses: IPv4 first, each kind in the order of its numbers, so that equal sets are
    equal; ttl_s: how long it may be kept, within the settings' bounds; unanswered: 4 or 6 if
    that question failed, so that what was known of that kind still holds.
    """

    addresses: tuple[str, ...]
    ttl_s: float
    unanswered: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """One SRV record. Args: target: in lower case, without the last dot."""

    target: str
    port: int
    priority: int
    weight: int


@dataclass(frozen=True, slots=True)
class Services:
    """The SRV records of a name, in a stable order, each once. Args: ttl_s: as of Addresses."""

    services: tuple[SrvRecord, ...]
    ttl_s: float


class Resolver:
    """Asks. Owns the channels of c-ares; close() ends them.

    Args: clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: ResolverSettings,
        *,
        system: SystemNames | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._system = system or SystemNames()
        self._clock = clock
        self._channel: _Channel | None = None
        self._retired: list[_Channel] = []  # until their last question is answered
        self._turns = asyncio.Semaphore(MAX_QUESTIONS)

    async def addresses(self, name: str) -> Addresses:
        """Return what a name leads to, at least one address. Raises: ResolveError."""
        known = await self._system.addresses(name)
        if known:
            return Addresses(in_order(known), self._bounded(0.0))
        search = await self._system.search()
        last: ResolveError | None = None
        for candidate in search.names(name):
            four, six = await asyncio.gather(
                self._ask(candidate, "A"), self._ask(candidate, "AAAA")
            )
            found = [each for each in (four, six) if isinstance(each, pycares.DNSResult)]
            given = in_order([address for result in found for address in _addresses(result)])
            failed = {
                version: result
                for version, result in ((4, four), (6, six))
                if isinstance(result, ResolveError) and not result.fault.certain
            }
            if given:
                return Addresses(given, self._ttl(*found), frozenset(failed))
            if failed:
                raise next(iter(failed.values()))
            last = _more_telling(four, six, candidate)
        raise last or ResolveError(Fault.BAD_NAME, name)

    async def services(self, name: str) -> Services:
        """Return the SRV records of a name, at least one. Raises: ResolveError."""
        search = await self._system.search()
        last: ResolveError | None = None
        for candidate in search.names(name):
            result = await self._ask(candidate, "SRV")
            if isinstance(result, pycares.DNSResult):
                given = _services(result)
                if given:
                    return Services(given, self._ttl(result))
                result = ResolveError(Fault.NO_DATA, candidate)
            if not result.fault.certain:
                raise result
            last = result
        raise last or ResolveError(Fault.BAD_NAME, name)

    async def close(self) -> None:
        """End the questions under way; may be called again."""
        channel, self._channel = self._channel, None
        retired, self._retired = self._retired, []
        for each in (*retired, *([channel] if channel is not None else ())):
            await each.dns.close()

    async def _ask(self, name: str, kind: Kind) -> pycares.DNSResult | ResolveError:
        async with self._turns:
            try:
                channel = self._fresh()
            except pycares.AresError as error:  # no descriptors or no memory for one
                return ResolveError(Fault.OTHER, name, str(error))
            channel.questions += 1
            try:
                async with asyncio.timeout(PATIENCE * self._settings.timeout):
                    return await channel.dns.query_dns(name, kind)
            except TimeoutError:
                return ResolveError(Fault.TIMEOUT, name)
            except aiodns.error.DNSError as error:
                return _explain(error, name)
            except (ValueError, UnicodeError) as error:  # what no query can hold
                return ResolveError(Fault.BAD_NAME, name, str(error))
            finally:
                channel.questions -= 1
                await self._close_retired()

    def _fresh(self) -> _Channel:
        """Return a channel that is younger than `min_ttl`."""
        old = self._channel
        now = self._clock()
        if old is not None and now - old.made < self._settings.min_ttl:
            return old
        dns = aiodns.DNSResolver(
            self._settings.servers or None, timeout=self._settings.timeout, tries=TRIES
        )
        self._channel = _Channel(dns, now)
        if old is not None:
            self._retired.append(old)
        return self._channel

    async def _close_retired(self) -> None:
        done = [each for each in self._retired if not each.questions]
        self._retired = [each for each in self._retired if each.questions]
        for each in done:
            await each.dns.close()

    def _ttl(self, *results: pycares.DNSResult) -> float:
        return self._bounded(min(record.ttl for each in results for record in each.answer))

    def _bounded(self, ttl_s: float) -> float:
        return min(max(ttl_s, self._settings.min_ttl), self._settings.max_ttl)


def in_order(addresses: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return each address once: IPv4 first, each kind in the order of its numbers."""
    numbers = {ip_address(address) for address in addresses}
    return tuple(map(str, sorted(numbers, key=lambda each: (each.version, int(each)))))


@dataclass(slots=True)
class _Channel:
    """A channel of c-ares. Args: made: when; questions: under way."""

    dns: aiodns.DNSResolver
    made: float
    questions: int = 0


def _explain(error: aiodns.error.DNSError, name: str) -> ResolveError:
    number, text = (*error.args, 0, "")[:2]
    fault = _FAULTS.get(number, Fault.OTHER)
    return ResolveError(fault, name, str(text) if fault is Fault.OTHER else "")


def _addresses(result: pycares.DNSResult) -> list[str]:
    return [
        record.data.addr
        for record in result.answer
        if isinstance(record.data, pycares.ARecordData | pycares.AAAARecordData)
    ]


def _services(result: pycares.DNSResult) -> tuple[SrvRecord, ...]:
    # RFC 2782: a target of "." says that the service is not to be had.
    found = {
        SrvRecord(target, record.data.port, record.data.priority, record.data.weight)
        for record in result.answer
        if isinstance(record.data, pycares.SRVRecordData)
        and (target := record.data.target.lower().removesuffix("."))
        and record.data.port
    }
    return tuple(sorted(found, key=lambda each: (each.priority, each.target, each.port)))


def _more_telling(four: object, six: object, name: str) -> ResolveError:
    for each in (four, six):
        if isinstance(each, ResolveError) and each.fault is Fault.NXDOMAIN:
            return each
    return ResolveError(Fault.NO_DATA, name, "neither A nor AAAA")
