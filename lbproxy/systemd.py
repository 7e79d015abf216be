"""Tells systemd, if it asks, that a process is ready, what it does, and that it ends.

Source: systemd, sd_notify(3): datagrams to the socket in NOTIFY_SOCKET.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

_log = logging.getLogger("lbproxy.systemd")


class Notifier:
    """Says nothing if nobody asked. Args: environment: may hold NOTIFY_SOCKET."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # an abstract socket
            self._address = "\0" + self._address[1:]

    def ready(self, status: str) -> None:
        """Say that it runs, and what it does."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Say what it does."""
        self._send(f"STATUS={status}")

    def stopping(self, status: str) -> None:
        """Say that it ends."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(text.encode(), self._address)
            except OSError as error:
                _log.debug("systemd was not told: %s", error)
