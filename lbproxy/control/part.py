"""What the control plane is made of: parts that live and end together, and know no other part."""

from __future__ import annotations

from lbproxy.cluster.snapshot import Snapshot


class Part:
    """One job of the control plane; does nothing by itself. All methods are for the event loop's
    thread.

    The plane calls start() of each part in its order, publishes the first snapshot, lets run() go
    as a task and waits for settle(). Then it calls tick() about once a second, and arrange() and
    published() around each new snapshot. In the end it cancels run() and calls stop() in the
    opposite order, also of parts that were never started. A part does what it has to in the methods
    that it needs, and leaves out the others. What changes in the registry it hands to the plane,
    which logs, keeps and publishes it.

    Attributes: name: of its task.
    """

    name: str

    async def start(self) -> None:
        """Get ready. Raises: the part's own error for what the configuration names and cannot be
        used."""

    async def settle(self) -> None:
        """Wait for what a start waits for, within bounds; run() goes on meanwhile."""

    async def run(self) -> None:
        """Work until cancelled, or until there is nothing more to do. An error that gets out ends
        the control plane."""

    async def tick(self, now: float) -> None:
        """Do what is due. Args: now: monotonic seconds. Must not wait for long: others wait for
        it."""

    def arrange(self) -> None:
        """Change what follows from other changes: they are about to be published."""

    def published(self, snapshot: Snapshot) -> None:
        """Take a newer snapshot; the workers get it after this."""

    def kept(self) -> object:
        """Return what the next control takes over, None for nothing.

        It is pickled at once, together with the registry and what other parts keep.
        """
        return None

    def take_over(self, kept: object) -> None:
        """Go on from there, before start().

        Args: kept: by the same part of the control before, whose configuration may have been
        another one. The registry has followed it.
        """

    async def step_down(self) -> None:
        """End because another one goes on; what was asked already is still answered."""
        await self.stop()

    async def stop(self) -> None:
        """End, and give back what it holds; may be called again."""
