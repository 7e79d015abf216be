"""A client's connection as bytes: what is sent, when it is read, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable

# The phases. IDLE: between requests. HEADING: a head has begun. SENDING: the request's body is on
# its way. WAITING: the request is complete, the response is not. LINGERING: answered for the last
# time; what still arrives is thrown away, so that a reset does not destroy the answer (RFC 9112
# section 9.6). CLOSED: nothing more happens.
IDLE, HEADING, SENDING, WAITING, TUNNELLING, LINGERING, CLOSED = range(7)
# Why the client is not read: the node is slower, no node connection yet, pipelined bytes wait, it
# does not read its answers, others have their turn first.
SLOW_NODE, NO_NODE, FULL, SLOW_CLIENT, BREATH = 1, 2, 4, 8, 16

_PIPELINE_BYTES = 64 << 10

# A client that still sends when it was answered for the last time is read as long as it goes on,
# within the second limit: one that sends everything before it reads would lose its answer.
_LINGER_S = 2.0
_LINGER_MOST_S = 30.0
_RESET = struct.pack("ii", 1, 0)


class Downstream:
    """The transport of one client and its phase; `ClientConnection` reads requests from it.

    Args: secure: the client speaks TLS to us; write_timeout: seconds that what is sent last may
    wait.
    Owns: the transport.

    Attributes: deadline: monotonic seconds at which the phase is overdue; closing: the connection
    ends with the exchange in progress; blocked: reasons not to read, as bits; unsent: bytes that
    waited when writing was last seen to make progress; pending: bytes behind the request in
    progress.
    """

    def __init__(self, secure: bool, write_timeout: float) -> None:
        self.write_timeout: float = write_timeout
        self.secure: bool = secure
        self.transport: asyncio.Transport | None = None
        self.send: Callable[[bytes], None] | None = None  # the transport's write, looked up once
        self.phase: int = IDLE
        self.deadline: float = 0.0
        self.closing: bool = False
        self.write_paused: bool = False
        self.unsent: int = 0
        self.blocked: int = 0
        self.pending: bytes = b""
        self._linger_until: float = 0.0

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        send = self.send
        if send is not None:
            send(data)

    def overdue(self, now: float) -> bool:
        """Return True where the phase's deadline has passed."""
        return self.deadline < now

    def local_authority(self) -> bytes:
        """Return the address that the client has reached, as an authority."""
        assert self.transport is not None
        name = self.transport.get_extra_info("sockname")
        if not isinstance(name, tuple):
            return b"localhost"
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{host}:{name[1]}".encode()

    def close(self, now: float) -> None:
        """Close after what is buffered has been sent, which a client may not put off for ever."""
        self.phase = CLOSED
        transport = self.transport
        if transport is not None:
            self.unsent = transport.get_write_buffer_size()
            self.deadline = now + self.write_timeout
            transport.close()

    def block(self, why: int) -> None:
        """Read no more, until this and every other reason is gone."""
        transport = self.transport
        if not self.blocked and transport is not None and not transport.is_closing():
            transport.pause_reading()
        self.blocked |= why

    def unblock(self, why: int) -> None:
        """This reason not to read is gone."""
        if not self.blocked & why:
            return
        self.blocked &= ~why
        transport = self.transport
        if not self.blocked and transport is not None and not transport.is_closing():
            transport.resume_reading()

    def hold_back(self, data: bytes) -> None:
        """Keep what came behind the request in progress."""
        self.pending = self.pending + data if self.pending else data
        if len(self.pending) > _PIPELINE_BYTES:
            self.block(FULL)

    def breathe(self) -> None:
        """Read no more in this turn of the event loop: what came already took long to read."""
        if not self.blocked & BREATH:
            self.block(BREATH)
            asyncio.get_running_loop().call_soon(self.breathed)

    def breathed(self) -> None:
        """The others had their turn."""
        self.unblock(BREATH)

    def close_after(self, complete: bool, now: float) -> None:
        """Close once the answer is sent. Args: complete: the client has nothing more to send."""
        transport = self.transport
        if transport is None or (complete and not self.pending):
            self.close(now)
            return
        self.pending = b""
        self.phase = LINGERING
        self._linger_until = now + _LINGER_MOST_S
        self.linger(now)
        if not self.secure:
            transport.write_eof()
        blocked = self.blocked
        self.blocked = 0
        if blocked and not transport.is_closing():
            transport.resume_reading()

    def linger(self, now: float) -> None:
        """Bytes came that nobody wants any more, or the wait for them begins."""
        self.deadline = min(now + _LINGER_S, self._linger_until)

    def abort_transport(self) -> None:
        """End the connection by a reset: to an HTTP/1.0 client an end of file is a whole body."""
        self.phase = CLOSED
        transport = self.transport
        if transport is not None:
            if not transport.is_closing():
                # Without a free descriptor an end of file has to do: better than no end.
                with contextlib.suppress(OSError):
                    reset_on_close(transport.get_extra_info("socket").fileno())
            transport.abort()


def reset_on_close(descriptor: int) -> None:
    """Make the kernel end the connection by a reset when its descriptor is closed."""
    duplicate = socket.socket(fileno=os.dup(descriptor))
    with duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def set_low_water(descriptor: int, size: int) -> None:
    """Make the kernel report bytes only from `size` on, or the end; see socket(7), SO_RCVLOWAT.

    Raises: OSError: there is no free descriptor.
    """
    duplicate = socket.socket(fileno=os.dup(descriptor))
    with duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
