"""Snapshots across a border between processes: the first one whole, then what differs.

Both ends know what crossed last. So a worker's pools and nodes stay the same objects while they do
not change, as they do in one process, where a channel hands over the snapshot itself: to find the
difference and to patch by it costs more there than the worker does with the result.
"""

from __future__ import annotations

from lbproxy.cluster.delta import Delta, difference, patched
from lbproxy.cluster.snapshot import Snapshot

Message = Snapshot | Delta


class SnapshotSender:
    """Control's end, for one worker: of snapshots that wait only the newest is sent."""

    def __init__(self) -> None:
        self._sent: Snapshot | None = None
        self._newest: Snapshot | None = None

    def put(self, snapshot: Snapshot) -> None:
        """Take a newer snapshot."""
        self._newest = snapshot

    def take(self) -> Message | None:
        """Return what is to be sent now, None if the worker has everything."""
        sent, newest = self._sent, self._newest
        if newest is None or newest is sent:
            return None
        self._sent = newest
        return newest if sent is None else difference(sent, newest)


class SnapshotReceiver:
    """A worker's end."""

    def __init__(self) -> None:
        self._known: Snapshot | None = None

    @property
    def begun(self) -> bool:
        """True if a snapshot has come."""
        return self._known is not None

    def take(self, message: Message) -> Snapshot:
        """Return the snapshot that a message leads to.

        Raises: WrongBase: a message before this one is missing.
        """
        if isinstance(message, Delta):
            self._known = patched(self._known or Snapshot(-1, {}), message)
        else:
            self._known = message
        return self._known
