"""Serves the admin API on a socket that was opened for it: a TCP address or a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from lbproxy.config.schema import AdminSettings
from lbproxy.control.admin.api import Busy, Commands, make_admin_app
from lbproxy.control.admin.metrics import Metrics
from lbproxy.control.part import Part


class AdminError(Exception):
    """The admin API cannot start; the text says what to do."""


def read_token(path: str, key: str = "token_file") -> bytes:
    """Return the token in a file, without white space around it.

    Args: key: of the configuration, for errors. Raises: AdminError.
    """
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise AdminError(f"admin.{key} {path}: {error.strerror}") from None
    if not token:
        raise AdminError(f"admin.{key} {path} is empty; write a long random text into it")
    return token


def _http_logger() -> logging.Logger:
    """Return the logger of the HTTP server below the API."""
    logger = logging.getLogger("lbproxy.admin.http")
    logger.addFilter(_is_no_bad_request)
    return logger


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    """False for what a peer has malformed: it is told so itself. The log would get a traceback for
    it from whoever reaches the port, with the bytes that were sent, and a token may be in them."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _end(runner: web.AppRunner, busy: Busy) -> None:
    await busy.over()
    await runner.cleanup()


class AdminServer(Part):
    """Serves the admin API.

    Args: admin: the token, and whether one is needed; listening: the socket, which stays its
    owner's. Raises: AdminError for a token file without one.
    """

    name = "admin"

    def __init__(
        self, admin: AdminSettings, listening: socket.socket, commands: Commands, metrics: Metrics
    ) -> None:
        token = read_token(admin.token_file) if admin.token_file is not None else None
        scraper = None
        if admin.metrics_token_file is not None:
            scraper = read_token(admin.metrics_token_file, "metrics_token_file")
        if token is None and not admin.bind.is_local:
            raise AdminError(f"admin.bind {admin.bind} is beyond loopback: set admin.token_file")
        check_host = token is None and not admin.bind.path
        self._busy = Busy()
        self._listening = listening
        self._app = make_admin_app(
            commands,
            metrics,
            token=token,
            check_host=check_host,
            metrics_token=scraper,
            busy=self._busy,
        )
        self._runner: web.AppRunner | None = None
        self._ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept."""
        self._runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=1.0, logger=_http_logger()
        )
        await self._runner.setup()
        # A descriptor of its own: the event loop closes what it accepted on.
        site = web.SockSite(self._runner, self._listening.dup())
        await site.start()

    async def step_down(self) -> None:
        """Accept no more; who asked is answered, such as one who waits for a reload."""
        runner, self._runner = self._runner, None
        if runner is not None:
            for site in [*runner.sites]:
                await site.stop()
            self._ending = asyncio.create_task(_end(runner, self._busy), name="admin")

    async def stop(self) -> None:
        """Accept no more and close the connections; may be called again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
