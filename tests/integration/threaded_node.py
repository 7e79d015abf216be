"""A node in a thread of its own, with a blocking socket: nothing but the kernel stands between an
answer and the close behind it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator


class Address:
    """What a door needs to know of a node."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port


@contextlib.contextmanager
def answering(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[Address]:
    """Run a node that reads something of each request, answers, and closes at once."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            # Else an answer behind TLS's tickets may still wait for their ACK when a reset of our
            # kernel's making throws it away.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, contextlib.suppress(OSError):
                stream = (
                    context.wrap_socket(connection, server_side=True) if context else connection
                )
                stream.recv(100)
                stream.sendall(answer)
                stream.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Address("node1", listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)
