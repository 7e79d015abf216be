"""A listening socket and how connections are accepted on it, behind a PROXY header or not."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from ipaddress import ip_address
from time import monotonic

from lbproxy.cluster.stats import CertificateEnd
from lbproxy.config import schema
from lbproxy.errors import Failure
from lbproxy.notices import Notices
from lbproxy.proxy.forwarding.rules import canonical_address
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.wire import proxy_protocol

BACKLOG = 4096  # connections that wait to be accepted, unless the configuration says otherwise
# Longest that a PROXY header can be: version 2 with its extensions.
_PEEK_BYTES = 16 + 4096
# Connections whose PROXY header has not come yet, so that silent ones cannot pile up.
_MAX_WAITING = 1000
# More than one accepts in a turn of the event loop would let the others wait.
_ACCEPTED_AT_ONCE = 64
_RETRY_S = 0.1  # after which it is tried again to accept
# How what should follow a PROXY header begins.
_TLS_RECORD = b"\x16\x03"
_HTTP = (b"GET ", b"POST", b"HEAD", b"OPTI", b"PUT ", b"DELE", b"PATC")
# A peer that sends no PROXY header is named once in so long.
NOTICE_EVERY_S = 60.0

_log = logging.getLogger("lbproxy.listener")


class ListenerState:
    """What the connections of one listener share.

    Args: settings; tls: None for plain HTTP; redirect_port: of the listener that requests are
    redirected to, 0 for none.

    Attributes: secure: for good, since connections do not change between plain and TLS; leaves: it
    is no longer served; connections close behind their answers.
    """

    def __init__(
        self, settings: schema.ListenerSettings, tls: ServerTls | None, redirect_port: int = 0
    ) -> None:
        self.settings = settings
        self.name: str = settings.name
        self.tls = tls
        self.secure: bool = tls is not None
        self.scheme: bytes = b"https" if tls is not None else b"http"
        self.redirect_port: int = redirect_port
        self.open: int = 0
        self.accepted: int = 0
        self.leaves: bool = False

    def follow(self, settings: schema.ListenerSettings, redirect_port: int) -> None:
        """Take over other settings of the same address, with TLS as before or without as before."""
        self.settings = settings
        self.redirect_port = redirect_port

    def expiries(self) -> dict[str, float]:
        """Return when its certificates expire, as Unix seconds by subject."""
        return {} if self.tls is None else self.tls.expiries()

    def certificates(self) -> tuple[CertificateEnd, ...]:
        """Return each of its certificates with its end."""
        return () if self.tls is None else self.tls.certificates()


# Makes what serves a connection. Args: its PROXY header, or None if none was to come.
MakeConnection = Callable[[proxy_protocol.ProxyHeader | None], asyncio.BaseProtocol]
CountRejected = Callable[[str], None]


class Listener:
    """Accepts connections on one socket.

    Args: sock: listening; make; head_timeout: seconds for a PROXY header; count_rejected: told the
    reason of each connection that is refused here; backlog: the queue of the socket.
    Owns: the socket and the connections that are not handed on yet.
    """

    def __init__(
        self,
        state: ListenerState,
        sock: socket.socket,
        make: MakeConnection,
        head_timeout: float,
        count_rejected: CountRejected,
        backlog: int = BACKLOG,
    ) -> None:
        self.state = state
        self.socket = sock
        self.head_timeout = head_timeout
        self._make = make
        self._count_rejected = count_rejected
        self._backlog = backlog
        self._server: asyncio.Server | None = None
        self._open = False
        self._retry: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Task[None]] = set()
        self._notices = Notices(_log, NOTICE_EVERY_S)

    @property
    def busy(self) -> bool:
        """True while connections are not handed on yet."""
        return bool(self._waiting)

    def serves(self, state: ListenerState, settings: schema.ListenerSettings) -> bool:
        """Return True if it can go on as it is if its state has these settings.

        If it reads PROXY headers it accepts by itself, otherwise the event loop does.
        """
        return state is self.state and (settings.proxy_protocol is None) == (
            self._server is not None
        )

    async def start(self) -> None:
        """Begin to accept."""
        self._open = True
        self.socket.setblocking(False)
        if self.state.settings.proxy_protocol is not None:
            self._listen()
            return
        make = self._make
        # A descriptor of its own: its server closes it, and the socket may have a successor.
        self._server = await asyncio.get_running_loop().create_server(
            lambda: make(None), sock=self.socket.dup(), backlog=self._backlog
        )

    def retire(self, *, succeeded: bool) -> None:
        """Accept those that wait in the queue, and then no more; they are handed on.

        Nobody whom the kernel has let in is lost, unless others hold the socket and nobody accepts.
        Args: succeeded: another one accepts on the socket from now on, and owns it.
        """
        if not self._open:
            return
        proxied = self._server is None
        self._stop()
        self.socket.setblocking(False)  # whoever has a duplicate may have set it otherwise
        try:
            while (connection := _accepted(self.socket)) is not None:
                self._take(connection, proxied)
        except OSError as error:
            _log.warning("listener %s: cannot accept: %s", self.state.name, error)
        if not succeeded:
            self.socket.close()

    async def settled(self) -> None:
        """Wait until those that were accepted are handed on."""
        while self._waiting:
            await asyncio.wait(self._waiting)

    def close(self) -> None:
        """Accept no more, and let go of those that are not handed on yet; the others stay."""
        if self._open:
            self._stop()
            self.socket.close()
        for task in list(self._waiting):
            task.cancel()

    def _stop(self) -> None:
        self._open = False
        if self._server is not None:
            self._server.close()
            return
        if self._retry is not None:
            self._retry.cancel()
        asyncio.get_running_loop().remove_reader(self.socket)

    def _listen(self) -> None:
        self._retry = None
        asyncio.get_running_loop().add_reader(self.socket, self._accept)

    def _accept(self) -> None:
        """Accept those that wait, in this turn: a connection between two of them could get lost."""
        try:
            for _ in range(_ACCEPTED_AT_ONCE):
                connection = _accepted(self.socket)
                if connection is None:
                    return
                self._take(connection, True)
        except OSError as error:
            # Out of descriptors, mostly: wait for some to come back instead of spinning.
            _log.warning("listener %s: cannot accept: %s", self.state.name, error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.socket)
            self._retry = loop.call_later(_RETRY_S, self._listen)

    def _take(self, connection: socket.socket, proxied: bool) -> None:
        """Hand on a connection when that can be. Args: proxied: behind its PROXY header."""
        if proxied and len(self._waiting) >= _MAX_WAITING:
            self._count_rejected(Failure.CONNECTIONS_EXHAUSTED.reason)
            connection.close()
            return
        settings = self.state.settings.proxy_protocol if proxied else None
        task = asyncio.get_running_loop().create_task(
            self._hand_on(connection, settings), name=f"hand on {self.state.name}"
        )
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _hand_on(
        self, connection: socket.socket, settings: schema.ProxyProtocolSettings | None
    ) -> None:
        """Read the PROXY header of one connection, if one is to come, and serve it."""
        loop = asyncio.get_running_loop()
        handed_on = False
        try:
            connection.setblocking(False)
            header: proxy_protocol.ProxyHeader | None = None
            if settings is not None and _trusts(settings, connection):
                async with asyncio.timeout(self.head_timeout):
                    header = await _read_header(connection)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            make = self._make
            handed_on = True
            await loop.connect_accepted_socket(lambda: make(header), connection)
        except TimeoutError:
            self._refuse(connection, f"sent no PROXY header within {self.head_timeout:.3g} s")
        except proxy_protocol.ProxyProtocolError as error:
            self._refuse(connection, f"sent no good PROXY header ({error})")
        except OSError:
            pass  # gone before it said anything
        finally:
            if not handed_on:
                connection.close()

    def _refuse(self, connection: socket.socket, what: str) -> None:
        """End a connection of a trusted peer, and say once in a while why: nobody else would."""
        self._count_rejected(Failure.PROXY_PROTOCOL.reason)
        peer = _peer_of(connection)
        self._notices.warn(
            peer,
            monotonic(),
            f"listener {self.state.name}: {peer}, which proxy_protocol.trusted names, {what}: "
            "let it send one (HAProxy: send-proxy-v2, nginx: proxy_protocol on), or trust it not",
        )


def _accepted(sock: socket.socket) -> socket.socket | None:
    """Return the next connection that waits in the queue of a listening socket, None for none.

    Raises: OSError.
    """
    while True:
        try:
            return sock.accept()[0]
        except BlockingIOError:
            return None
        except ConnectionAbortedError:
            continue  # that client has left; another may wait


def _peer_of(connection: socket.socket) -> str:
    try:
        return canonical_address(connection.getpeername()[0]) or "a peer"
    except OSError:
        return "a peer"


def _trusts(settings: schema.ProxyProtocolSettings, connection: socket.socket) -> bool:
    peer = canonical_address(connection.getpeername()[0])
    return bool(peer) and any(ip_address(peer) in network for network in settings.trusted)


async def _read_header(connection: socket.socket) -> proxy_protocol.ProxyHeader:
    """Read a PROXY header and not a byte more: what follows may be a TLS handshake.

    Raises: ProxyProtocolError, OSError.
    """
    got = b""
    while True:
        await _readable(connection)
        peeked = connection.recv(_PEEK_BYTES, socket.MSG_PEEK)
        if not peeked:
            raise ConnectionResetError("closed before its PROXY header")
        begun = got + peeked
        if begun[:2] == _TLS_RECORD or begun[:4] in _HTTP:
            raise proxy_protocol.ProxyProtocolError("what came is TLS or HTTP itself")
        header = proxy_protocol.parse(begun)
        if header is not None:
            connection.recv(header.consumed - len(got))
            return header
        # Incomplete: then every byte so far belongs to the header.
        got += connection.recv(len(peeked))


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, wake)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
