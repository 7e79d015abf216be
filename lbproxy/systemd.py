"""Tells systemd, if it asks, that a process is ready, what it does, and that it ends.

Source: systemd, sd_notify(3): datagrams to the socket in NOTIFY_SOCKET; sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger("lbproxy.systemd")


class Notifier:
    """Says nothing if nobody asked.

    Args: environment: may hold NOTIFY_SOCKET, and WATCHDOG_USEC for WATCHDOG_PID.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # an abstract socket
            self._address = "\0" + self._address[1:]
        self._watchdog_s = _watchdog_s(environment) if self._address else 0.0

    @property
    def watchdog_s(self) -> float:
        """How often it wants to hear that all is well, in seconds; 0 for never."""
        return self._watchdog_s

    def alive(self) -> None:
        """Say that all is well."""
        self._send("WATCHDOG=1")

    def ready(self, status: str) -> None:
        """Say that it runs, and what it does."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Say that the configuration is read again; `ready` ends it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reading the configuration again")

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


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """Return half of what the watchdog waits, in seconds, as sd_watchdog_enabled(3) advises."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0  # another process is watched
    try:
        return int(environment.get("WATCHDOG_USEC", "0")) / 2e6
    except ValueError:
        return 0.0
