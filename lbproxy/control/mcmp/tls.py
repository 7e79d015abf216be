"""TLS of the MCMP listener: client certificates are demanded, changed files are loaded."""

from __future__ import annotations

import logging
import ssl

from lbproxy.config.sources import McmpTlsSettings
from lbproxy.control.mcmp.access import McmpError
from lbproxy.files import FileMark, mark_of

_log = logging.getLogger("lbproxy.mcmp")


class TlsFiles:
    """The certificate of the listener and the authority of the nodes.

    Raises: McmpError if they cannot be used.
    """

    def __init__(self, settings: McmpTlsSettings) -> None:
        self._settings = settings
        self._seen = self._look()
        try:
            self.context = _make(settings)
        except (OSError, ssl.SSLError) as error:
            raise McmpError(f"mcmp.tls: {_explain(settings, error)}") from None

    def reload_if_changed(self) -> None:
        """Load files that changed; if they cannot be used the old ones stay."""
        now = self._look()
        if now == self._seen:
            return
        self._seen = now
        try:
            self.context = _make(self._settings)
        except (OSError, ssl.SSLError) as error:
            what = _explain(self._settings, error)
            _log.error("mcmp.tls: not loaded, the old certificate stays: %s", what)
        else:
            _log.info("mcmp.tls: %s: loaded", self._settings.cert)

    def _look(self) -> tuple[FileMark | None, ...]:
        settings = self._settings
        return tuple(map(mark_of, (settings.cert, settings.key, settings.client_ca)))


def _make(settings: McmpTlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(settings.cert, settings.key, password=_no_passphrase)
    context.load_verify_locations(cafile=settings.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_passphrase() -> str:
    return ""  # or OpenSSL would ask at the terminal


def _explain(settings: McmpTlsSettings, error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    files = f"{settings.cert}, {settings.key}, {settings.client_ca}"
    return f"one of {files} cannot be used ({reason or error})"
