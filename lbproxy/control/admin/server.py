"""Where the admin API listens: a TCP address or a Unix socket."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from lbproxy.config.schema import AdminSettings
from lbproxy.control.admin.api import Commands, make_admin_app
from lbproxy.control.admin.metrics import Metrics
from lbproxy.control.binding import why_not_bound

_BACKLOG = 64


class AdminError(Exception):
    """The admin API cannot start; the text says what to do."""


class AdminBindError(AdminError):
    """The admin API's address cannot be listened on."""


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


def bind_unix(path: str) -> socket.socket:
    """Return a socket at `path` that only this user opens, in the place of one that died.

    Raises: OSError, also where something listens there already or the file is no socket.
    """
    if os.path.exists(path):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(17, "not a socket", path)
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            else:
                raise OSError(98, "something listens there already", path)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(path)
        os.chmod(path, 0o600)  # before listen(): nobody connects in between
    except OSError:
        listening.close()
        raise
    return listening


def _http_logger() -> logging.Logger:
    """Return the logger of the HTTP server below the API."""
    logger = logging.getLogger("lbproxy.admin.http")
    logger.addFilter(_is_no_bad_request)
    return logger


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    """False for what a peer has malformed: it is told so itself. The log would get a traceback for
    it from whoever reaches the port, with the bytes that were sent, and a token may be in them."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class AdminServer:
    """Owns the listening socket of the admin API.

    Args: admin: where to listen and the token. Raises: AdminError for a token file without one.
    """

    def __init__(self, admin: AdminSettings, commands: Commands, metrics: Metrics) -> None:
        token = read_token(admin.token_file) if admin.token_file is not None else None
        scraper = None
        if admin.metrics_token_file is not None:
            scraper = read_token(admin.metrics_token_file, "metrics_token_file")
        if token is None and not admin.bind.is_local:
            raise AdminError(f"admin.bind {admin.bind} is beyond loopback: set admin.token_file")
        check_host = token is None and not admin.bind.path
        self._bind = admin.bind
        self._app = make_admin_app(
            commands, metrics, token=token, check_host=check_host, metrics_token=scraper
        )
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The TCP port that it listens on, 0 for a Unix socket."""
        address = self._runner.addresses[0] if self._runner is not None else None
        return address[1] if isinstance(address, tuple) else 0

    async def start(self) -> None:
        """Listen. Raises: AdminBindError that names the address."""
        runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=1.0, logger=_http_logger()
        )
        await runner.setup()
        try:
            site: web.BaseSite
            if self._bind.path:
                listening = bind_unix(self._bind.path)
                site = web.SockSite(runner, listening, backlog=_BACKLOG)
            else:
                site = web.TCPSite(runner, self._bind.host, self._bind.port, backlog=_BACKLOG)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            why = why_not_bound(self._bind, error)
            raise AdminBindError(f"admin.bind {self._bind}: {why}") from error
        self._runner = runner

    async def stop(self) -> None:
        """Close the socket and the connections; may be called again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            if self._bind.path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._bind.path)
