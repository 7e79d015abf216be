"""Reads the configuration again and has every child follow it, or nobody.

The file is read and checked in a child of its own. If it is good, sockets of new addresses are
opened, and control and the workers are told; when the last one has done it the old sockets are
closed. If one of them cannot, all go back.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lbproxy.config.schema import Config
from lbproxy.control.reloading import ReloadOutcome
from lbproxy.proxy.transport.tickets import TicketSecret
from lbproxy.proxy.transport.tls import ServerTls, TlsError
from lbproxy.runtime.cores import worker_count
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.following import pack
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.orders import Follow, Know, ReloadAnswer
from lbproxy.runtime.reading import ReadAgain, plan, read_again, tell_outcome
from lbproxy.runtime.sockets import BindError, close_unused, open_again
from lbproxy.runtime.spreading import spread_over
from lbproxy.runtime.supervisor.children import Children, Process
from lbproxy.runtime.supervisor.fork import fork
from lbproxy.runtime.supervisor.ticket_trial import can_set_tickets
from lbproxy.runtime.ticket_secrets import ticket_secrets
from lbproxy.runtime.tuning import tune

_log = logging.getLogger("lbproxy.process")


# Who waits for a reload holds a connection to the admin API.
_MOST_WANTED = 64


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A reload that somebody wants. Args: asker: control, None for a signal; number: of its
    question; dry_run: only the plan is wanted."""

    asker: Process | None
    number: int
    dry_run: bool


class Reloading:
    """One reload after the other.

    Args: children; image: returns what holds now, and `hold` makes another one hold; serving: says
    whether anything may change; resize: has so many workers serve, and calls back when they do;
    began, settled: called when one begins and is over.
    """

    def __init__(
        self,
        children: Children,
        image: Callable[[], Image],
        hold: Callable[[Image], None],
        serving: Callable[[], bool],
        resize: Callable[[int, Callable[[], None]], None],
        began: Callable[[], None],
        settled: Callable[[], None],
    ) -> None:
        self._children = children
        self._image = image
        self._hold = hold
        self._serving = serving
        self._resize = resize
        self._began = began
        self._settled = settled
        self._queue: deque[_Wanted] = deque()
        self._now: _Wanted | None = None
        self._reader = 0  # pid of the child that reads
        self._result = -1  # file in memory in which it leaves what it read
        self._refusals: list[str] = []
        self._number = 0

    @property
    def busy(self) -> bool:
        """True while one is in progress, or waits."""
        return self._now is not None

    def ask(self, asker: Process | None, number: int, dry_run: bool) -> None:
        """Read the configuration again, as soon as it is this one's turn.

        Signals that wait for theirs are one: each reads what the file says then.
        """
        if asker is None and any(each.asker is None for each in self._queue):
            return
        if asker is not None and len(self._queue) >= _MOST_WANTED:
            why = "too many others wait for a reload: try again later"
            outcome = ReloadOutcome(problems=(why,))
            self._children.tell(asker, ReloadAnswer(number, outcome))
            return
        self._queue.append(_Wanted(asker, number, dry_run))
        self._next()

    def ended(self, pid: int, code: int) -> bool:
        """Return True if a process that has ended was the one that reads, and go on."""
        if not pid or pid != self._reader:
            return False
        self._reader = 0
        with open(self._result, "rb") as file:
            file.seek(0)
            data = file.read()
        read = pickle.loads(data) if data else None
        if isinstance(read, ReadAgain):
            self._take(read)
        else:
            self._conclude(
                ReloadOutcome(problems=(f"the file could not be read: exit code {code}",))
            )
        return True

    def refused(self, child: Process, why: str) -> None:
        """A child cannot follow."""
        self._refusals.append(f"{child.name}: {why}")

    def catch_up(self, child: Process) -> None:
        """Tell a child that was forked before what holds now, and has just become ready."""
        if child.image is not self._image():
            self._number += 1
            descriptors = pack(child.image, self._image())
            child.image = self._image()
            self._children.tell(child, Follow(self._number), *descriptors)

    def _next(self) -> None:
        if self._now is not None or not self._queue:
            return
        self._now = self._queue.popleft()
        if not self._now.dry_run:
            self._began()
        self._result = os.memfd_create("read")
        self._reader = fork("lbproxy reader", self._read)

    def _read(self) -> int:
        """In the child: leave what the file says."""
        image = self._image()
        os.write(self._result, pickle.dumps(read_again(image.path, image.config, os.environ)))
        return 0

    def _take(self, read: ReadAgain) -> None:
        wanted, before = self._now, self._image()
        assert wanted is not None
        if not self._serving():
            self._conclude(ReloadOutcome(problems=("lbproxy is about to end: nothing was read",)))
            return
        if read.config is None:
            self._conclude(ReloadOutcome(problems=read.problems))
            return
        for line in read.problems:
            _log.warning("%s", line)
        config, outcome = plan(before.config, read.config, alone=False)
        workers = worker_count(config)
        if wanted.dry_run:
            self._conclude(outcome)
            return
        try:
            sets = can_set_tickets(config, before.sets_tickets)
            tickets = ticket_secrets(config, before.ticket_secret, sets)
            tls, keys = _tls(before, config, tickets), affinity_keys(config, before.keys)
            sockets = open_again(before.sockets, config, workers)
        except (BindError, TlsError, OSError) as error:
            self._conclude(ReloadOutcome(problems=(str(error),)))
            return
        too_few = raise_descriptor_limit(config)  # also for those that are forked from now on
        if too_few is not None:
            _log.warning("%s", too_few)
        before.board.widen(PAGES * workers)
        after = replace(
            before,
            config=config,
            sockets=sockets,
            tls=tls,
            keys=keys,
            workers=workers,
            sets_tickets=sets,
            tickets=tickets,
        )
        self._refusals.clear()
        self._tell(before, after, lambda: self._followed(before, after, outcome))

    def _tell(self, before: Image, after: Image, then: Callable[[], None]) -> None:
        self._hold(after)  # who is started anew meanwhile begins with it
        self._number += 1
        told = [
            child
            for child in self._children.everybody()
            if child.ready and not child.leaving and child.place < after.workers
        ]
        self._children.tell_all(told, Follow(self._number), then, lambda child: pack(before, after))
        for child in told:
            child.image = after

    def _followed(self, before: Image, after: Image, outcome: ReloadOutcome) -> None:
        if not self._refusals:
            if before.workers != after.workers:
                spread_over(after.sockets)
            close_unused(before.sockets, after.sockets)
            tune(after.sockets, after.config, before.config)
            self._resize(after.workers, lambda: self._conclude(outcome))
            return
        problems = tuple(self._refusals)

        def back() -> None:
            close_unused(after.sockets, before.sockets)
            self._conclude(ReloadOutcome(problems=problems))

        self._tell(after, before, back)

    def _conclude(self, outcome: ReloadOutcome) -> None:
        wanted, self._now = self._now, None
        assert wanted is not None
        path = self._image().path
        if not wanted.dry_run:
            tell_outcome(path, outcome)
        outcome = outcome.shortened()
        if not wanted.dry_run:
            self._children.history = self._children.history.after(outcome)
            for child in self._children.controls():
                self._children.tell(child, Know(self._children.history))
            self._settled()
        if wanted.asker in self._children.everybody():
            assert wanted.asker is not None
            self._children.tell(wanted.asker, ReloadAnswer(wanted.number, outcome))
        self._next()


def _tls(
    before: Image, config: Config, tickets: Mapping[str, TicketSecret]
) -> dict[str, ServerTls]:
    """Return TLS by the listener's name for workers that are forked from now on: of a section that
    has not changed the same, so that tickets are good in all of them even where their keys cannot
    be set."""
    found: dict[str, ServerTls] = {}
    for each in config.listeners:
        if each.tls is not None:
            tls, secret = before.tls.get(each.name), tickets.get(each.name)
            if tls is None or not tls.does(each.tls, secret):
                tls = ServerTls(each.tls, secret)
            found[each.name] = tls
    return found
