"""Session ids that nodes have set, and which node each came from: `learned` of `sticky.by`.

Each worker has a table of its own, bounded, and the least recently used goes first. Workers tell
each other what they learn, and, now and then, what they use: so a session that one worker serves
is not forgotten by the others. If two workers learned different nodes of one id before they heard
of each other, the later one is right in all of them.

An id may be a secret of its client: it goes from worker to worker, and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

# A session id, the name of its node, and when that was learned, in monotonic seconds, which are the
# same in all processes of a machine.
Lesson = tuple[bytes, str, float]

# Longer session ids are remembered by digest, so that the table is bounded in bytes, too.
MAX_LEARNED_KEY = 64
# Lessons that wait to be told. The oldest are dropped; they are told when they are used again.
MAX_UNTOLD = 10_000
# How often others are told that a session is still used, in seconds.
TELL_AGAIN_S = 60.0

_MAX_LEARNED_KEY = MAX_LEARNED_KEY
_MAX_UNTOLD = MAX_UNTOLD
_TELL_AGAIN_S = TELL_AGAIN_S


def _key_of(value: bytes) -> bytes:
    if len(value) <= _MAX_LEARNED_KEY:
        return value
    # One byte longer than any value kept as it is, so that no value equals a digest.
    return hashlib.blake2b(value, digest_size=64).digest() + b"#"


class Owned:
    """Whose a session is. Args: node: its name; since, told: monotonic seconds, when that was
    learned and when other workers were told last."""

    def __init__(self, node: str, since: float) -> None:
        self.node: str = node
        self.since: float = since
        self.told: float = since


class Learned:
    """The table of one worker. Args: entries: the most that it holds."""

    def __init__(self, entries: int) -> None:
        self._entries: int = entries
        self._table: OrderedDict[bytes, Owned] = OrderedDict()
        self._untold: OrderedDict[bytes, None] = OrderedDict()
        self._tells: bool = False  # somebody has asked

    def __len__(self) -> int:
        return len(self._table)

    def follow(self, entries: int) -> None:
        """Hold at most so many from now on; the least recently used go."""
        self._entries = entries
        while len(self._table) > entries:
            self._table.popitem(last=False)

    def find(self, value: bytes, now: float) -> str | None:
        """Return the node of a session id, or None. Args: now: monotonic seconds."""
        key = _key_of(value)
        owned = self._table.get(key)
        if owned is None:
            return None
        self._use(key, owned, now)
        return owned.node

    def learn(self, value: bytes, node: str, now: float) -> None:
        """A node has set this session id. Args: now: monotonic seconds, exact."""
        key = _key_of(value)
        owned = self._table.get(key)
        if owned is not None and owned.node == node:
            self._use(key, owned, now)
            return
        self._put(key, node, now)
        self._tell(key)

    def take(self, limit: int) -> list[Lesson]:
        """Return what was learned here since this was asked last, the oldest first.

        What is beyond `limit` is for the next time. The first time it is the end of the table.
        """
        table = self._table
        if not self._tells:
            self._tells = True
            newest = [key for key, _ in zip(reversed(table), range(limit), strict=False)]
            return [self._lesson(key) for key in reversed(newest)]
        found: list[Lesson] = []
        while self._untold and len(found) < limit:
            key, _ = self._untold.popitem(last=False)
            if key in table:
                found.append(self._lesson(key))
        return found

    def add(self, lessons: Iterable[Lesson]) -> None:
        """Take over what other workers learned; it is not told on."""
        for key, node, since in lessons:
            owned = self._table.get(key)
            if owned is None or (owned.since, owned.node) < (since, node):
                self._put(key, node, since)
            elif owned.node == node:
                self._table.move_to_end(key)

    def all(self) -> list[Lesson]:
        """Return the whole table, the least recently used first."""
        return [(key, owned.node, owned.since) for key, owned in self._table.items()]

    def _lesson(self, key: bytes) -> Lesson:
        owned = self._table[key]
        return key, owned.node, owned.since

    def _put(self, key: bytes, node: str, since: float) -> None:
        self._table[key] = Owned(node, since)
        self._table.move_to_end(key)
        if len(self._table) > self._entries:
            self._table.popitem(last=False)

    def _use(self, key: bytes, owned: Owned, now: float) -> None:
        self._table.move_to_end(key)
        if now - owned.told >= _TELL_AGAIN_S:
            owned.told = now
            self._tell(key)

    def _tell(self, key: bytes) -> None:
        if self._tells:
            self._untold[key] = None
            if len(self._untold) > _MAX_UNTOLD:
                self._untold.popitem(last=False)
