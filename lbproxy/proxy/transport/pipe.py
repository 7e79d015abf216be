"""One transport, of a client or of a node: what is sent, why it is not read, how it ends.

A pipe is read unless there is a reason not to. Each reason is a bit that ends by itself, so that
two of them at once never resume each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import cast

# Why a pipe is not read: the other side of the exchange is slower, no node is there yet, bytes of
# later requests wait, the peer does not read its answers, others have their turn first, bytes that
# were read wait to be decrypted.
SLOW_NODE, NO_NODE, FULL, SLOW_CLIENT, BREATH, HELD = 1, 2, 4, 8, 16, 32

_RESET = struct.pack("ii", 1, 0)


class Pipe:
    """The transport of one connection.

    Owns: the transport from `open` on, until `lost`.

    Attributes: blocked: reasons not to read, as bits; unsent: bytes that waited to be sent when
    `moved` last looked.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.send: Callable[[bytes], None] | None = None  # the transport's write, looked up once
        self.blocked: int = 0
        self.unsent: int = 0

    def open(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = cast(asyncio.Transport, transport)
        self.send = self.transport.write

    def lost(self) -> None:
        """The connection is gone."""
        self.transport = None
        self.send = None

    # Sending.

    def write(self, data: bytes) -> None:
        """Send bytes; those for a peer that is gone are thrown away."""
        send = self.send
        if send is not None:
            send(data)

    def waiting(self) -> int:
        """Return how many bytes wait to be sent."""
        transport = self.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def watch(self) -> None:
        """Remember how many bytes wait, for `moved`."""
        self.unsent = self.waiting()

    def moved(self) -> bool:
        """Return True if the peer has read some of what waited since it was last looked at.

        Reading slowly is allowed, not reading is not.
        """
        now = self.waiting()
        if now < self.unsent:
            self.unsent = now
            return True
        return False

    # Reading.

    def block(self, why: int) -> None:
        """Read no more, until this and every other reason is gone."""
        if not self.blocked and self.alive():
            assert self.transport is not None
            self.transport.pause_reading()
        self.blocked |= why

    def unblock(self, why: int) -> None:
        """This reason not to read is gone."""
        if self.blocked & why:
            self.blocked &= ~why
            self._listen()

    def breathe(self, then: Callable[[], None] | None) -> None:
        """Read no more in this turn of the event loop: what came already took long to read.

        Args: then: is called when the others had their turn.
        """
        if not self.blocked & BREATH:
            self.block(BREATH)
            asyncio.get_running_loop().call_soon(self._breathed, then)

    def _breathed(self, then: Callable[[], None] | None) -> None:
        self.blocked &= ~BREATH
        if then is not None:
            then()
        self._listen()

    def _listen(self) -> None:
        if not self.blocked and self.alive():
            assert self.transport is not None
            self.transport.resume_reading()

    def wake_above(self, size: int) -> None:
        """Make the kernel report bytes only from `size` on, or the end; see socket(7), SO_RCVLOWAT.

        Raises: OSError: there is no free descriptor.
        """
        if self.alive():
            _set(self._descriptor(), socket.SO_RCVLOWAT, size)

    # The end.

    def alive(self) -> bool:
        """Return True while it stands, as far as the event loop knows."""
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        """End the connection after what waits was sent."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """End the connection without sending what waits."""
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """End the connection by a reset: to an HTTP/1.0 client an end of file is a whole body."""
        if self.alive():
            # Without a free descriptor an end of file has to do: better than no end.
            with contextlib.suppress(OSError):
                reset_on_close(self._descriptor())
        self.abort()

    def _descriptor(self) -> int:
        assert self.transport is not None
        return cast(int, self.transport.get_extra_info("socket").fileno())


def reset_on_close(descriptor: int) -> None:
    """Make the kernel end the connection by a reset when its descriptor is closed.

    Raises: OSError: there is no free descriptor.
    """
    _set(descriptor, socket.SO_LINGER, _RESET)


def _set(descriptor: int, option: int, value: int | bytes) -> None:
    duplicate = socket.socket(fileno=os.dup(descriptor))
    with duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, option, value)
