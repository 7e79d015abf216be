"""All of lbproxy in one process: signals, reloads, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from lbproxy.config.schema import Config
from lbproxy.config.units import format_duration
from lbproxy.control.reloading import ALL_IN_ONE, ReloadOutcome
from lbproxy.proxy.transport.tls import TlsError
from lbproxy.runtime.collector import quiet_collector
from lbproxy.runtime.control_seat import ERRORS
from lbproxy.runtime.first_process import adopt_orphans
from lbproxy.runtime.passed import PassedSockets
from lbproxy.runtime.reading import plan, read_again, tell_outcome
from lbproxy.runtime.service import Service
from lbproxy.runtime.sockets import BindError
from lbproxy.runtime.watching import FileWatch
from lbproxy.systemd import Notifier

_log = logging.getLogger("lbproxy.process")


class Alone:
    """Serves a configuration in this process until it is told to end.

    Args: path: of the configuration; on_ready: called once all listeners accept; sets_tickets: as
    of `Service`; watch: as of the supervisor.
    """

    def __init__(
        self,
        config: Config,
        path: Path,
        on_ready: Callable[[], None] | None,
        sets_tickets: bool,
        watch: FileWatch | None = None,
    ) -> None:
        self._path = path
        self._watch = watch
        self._on_ready = on_ready
        self._service = Service(config, reload=self._reload, sets_tickets=sets_tickets)
        self._systemd = Notifier(os.environ)
        self._reloading: asyncio.Lock
        self._by_signal: set[asyncio.Task[ReloadOutcome]] = set()

    def open(self, passed: PassedSockets) -> None:
        """Open every socket. Args: passed: as of `open_all`. Raises: BindError."""
        self._service.open(passed)

    async def serve(self) -> int:
        """Serve; return 0, or 1 if exchanges had to be cut off. Raises: as `Service.start`."""
        loop = asyncio.get_running_loop()
        self._reloading = asyncio.Lock()
        asked = asyncio.Event()
        at_once = asyncio.Event()

        def end() -> None:
            (at_once if asked.is_set() else asked).set()

        def reload() -> None:
            task = loop.create_task(self._reload(False), name="reload")
            self._by_signal.add(task)
            task.add_done_callback(self._by_signal.discard)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        loop.add_signal_handler(signal.SIGUSR1, self._service.reopen_log)
        loop.add_signal_handler(signal.SIGHUP, reload)
        loop.add_signal_handler(signal.SIGUSR2, _tell_no_upgrade)
        adopt_orphans()
        try:
            await self._service.start()
            quiet_collector()
            _log.info("serving %s", self._path)
            self._systemd.ready("serving")
            watched = asyncio.ensure_future(_assure(self._systemd))
            looking = asyncio.ensure_future(self._look())
            if self._on_ready is not None:
                self._on_ready()
            await asked.wait()
            looking.cancel()
            self._systemd.stopping("draining")
            self._service.shut_down()
            await _lead(self._service.config.shutdown.lead, at_once)
            _log.info("draining")
            watched.cancel()
            return 0 if await _drained(self._service, at_once) else 1
        finally:
            await self._service.stop()
            _log.info("ended")

    async def _reload(self, dry_run: bool) -> ReloadOutcome:
        """Read the configuration again and follow it."""
        async with self._reloading:
            if dry_run:
                return (await self._read())[1]
            self._systemd.reloading()
            if self._watch is not None:
                self._watch.reload_begins()
            outcome = await self._follow()
            tell_outcome(self._path, outcome)
            self._service.history = self._service.history.after(outcome)
            if self._watch is not None:
                self._watch.reload_ends(self._service.config, worked=outcome.worked)
            self._systemd.ready("serving" + self._service.history.remark)
            return outcome

    async def _look(self) -> None:
        """Have files read again that change, if they are to be watched."""
        while self._watch is not None:
            await asyncio.sleep(max(0.0, self._watch.due - monotonic()))
            if self._watch.look(monotonic()):
                await self._reload(False)

    async def _read(self) -> tuple[Config | None, ReloadOutcome]:
        """Return what the file says, None if it cannot be used, and what would change."""
        before = self._service.config
        read = await asyncio.to_thread(read_again, self._path, before, os.environ)
        if read.config is None:
            return None, ReloadOutcome(problems=read.problems)
        return plan(before, read.config, alone=True)

    async def _follow(self) -> ReloadOutcome:
        config, outcome = await self._read()
        if config is not None:
            try:
                await self._service.follow(config)
            except (BindError, TlsError, *ERRORS) as error:
                return ReloadOutcome(problems=(str(error),))
        return outcome


def _tell_no_upgrade() -> None:
    _log.warning("not upgraded: %s", ALL_IN_ONE)


async def _assure(systemd: Notifier) -> None:
    """Tell the watchdog, if there is one, that the event loop turns."""
    while systemd.watchdog_s:
        systemd.alive()
        await asyncio.sleep(systemd.watchdog_s)


async def _lead(lead_s: float, at_once: asyncio.Event) -> None:
    """Go on for `shutdown.lead`, or until a second signal."""
    if not lead_s:
        return
    _log.info("not ready any more; draining in %s", format_duration(lead_s))
    with suppress(TimeoutError):
        async with asyncio.timeout(lead_s):
            await at_once.wait()


async def _drained(service: Service, at_once: asyncio.Event) -> bool:
    """Drain until it is done or a second signal comes; return True if nothing was cut off."""
    draining = asyncio.ensure_future(service.drain())
    hurry = asyncio.ensure_future(at_once.wait())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if draining.done():
        return draining.result()
    draining.cancel()
    return False
