"""A resolver that says what a test wants."""

from __future__ import annotations

import asyncio

from lbproxy.control.discovery.resolver import (
    Addresses,
    Fault,
    ResolveError,
    Resolver,
    Services,
    SrvRecord,
    in_order,
)

TTL_S = 0.002


class Scripted(Resolver):
    """`answers`: by question; none: no such name. `asked`: every question, newest last."""

    def __init__(self) -> None:
        self.answers: dict[str, Addresses | Services | Fault] = {}
        self.asked: list[str] = []
        self.news = asyncio.Event()

    async def addresses(self, name: str) -> Addresses:
        answer = self._answer(name)
        assert isinstance(answer, Addresses)
        return answer

    async def services(self, name: str) -> Services:
        answer = self._answer(name)
        assert isinstance(answer, Services)
        return answer

    async def close(self) -> None:
        pass

    def _answer(self, name: str) -> Addresses | Services:
        self.asked.append(name)
        self.news.set()
        answer = self.answers.get(name, Fault.NXDOMAIN)
        if isinstance(answer, Fault):
            raise ResolveError(answer, name)
        return answer

    def set(self, name: str, *addresses: str, unanswered: int | None = None) -> None:
        """Lead a name to these addresses from now on."""
        failed = frozenset() if unanswered is None else frozenset({unanswered})
        self.answers[name] = Addresses(in_order(addresses), TTL_S, failed)

    def set_services(self, name: str, *services: str) -> None:
        """Answer with these records, written as in a zone file: priority weight port target."""
        made = []
        for text in services:
            priority, weight, port, target = text.split()
            made.append(SrvRecord(target, int(port), int(priority), int(weight)))
        self.answers[name] = Services(tuple(made), TTL_S)

    async def asked_again(self, name: str, times: int = 2) -> None:
        """Wait until what is said now has certainly been taken in."""
        wanted = self.asked.count(name) + times
        async with asyncio.timeout(10):
            while self.asked.count(name) < wanted:
                self.news.clear()
                await self.news.wait()
