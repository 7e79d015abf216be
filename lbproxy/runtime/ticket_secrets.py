"""What the ticket keys of each listener are derived from."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from lbproxy.config.schema import Config
from lbproxy.config.ticket_keys import NO_EFFECT, read_ticket_secret
from lbproxy.proxy.transport.tickets import TicketSecret
from lbproxy.proxy.transport.tls import TlsError

SECRET_BYTES = 48

_log = logging.getLogger("lbproxy.tls")


def ticket_secrets(config: Config, own: bytes, sets: bool | None) -> dict[str, TicketSecret]:
    """Return the secret of each listener with TLS, by its name.

    Args: own: this program's, for those without a file; sets: ticket keys can be set, else there
    are no secrets. Raises: TlsError if a file cannot be used.
    """
    found: dict[str, TicketSecret] = {}
    for name, file in _files(config) if sets else ():
        try:
            secret = own if file is None else read_ticket_secret(file)
        except ValueError as error:
            raise TlsError(f"{file} {error}") from None
        found[name] = TicketSecret(secret, name)
    return found


def warn_of_files(config: Config) -> None:
    """Say of each file that it has no effect."""
    for name, file in _files(config):
        if file is not None:
            _log.warning("listener %s: tls.ticket_key_file %s", name, NO_EFFECT)


def _files(config: Config) -> Iterator[tuple[str, str | None]]:
    for listener in config.listeners:
        if listener.tls is not None:
            yield listener.name, listener.tls.ticket_key_file
