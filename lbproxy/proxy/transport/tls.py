"""TLS on both sides: certificates for clients, chosen by SNI and reloaded, and trust in nodes.

How it works: for each set of names that certificates hold there is an outer context. It has no
certificate; each connection that is made of it is moved at once to the context of the certificate
that is in use for these names. A reload replaces those inner contexts, so open connections keep
theirs. There is no SNI callback: Python prints a traceback for every name in it that is not ASCII.

Session tickets are the outer context's. OpenSSL takes one before it asks for a name, so the outer
context is chosen before OpenSSL sees a byte, by the name in the ClientHello: a ticket is good for
the names that it was made for, on this listener, and for no others. It survives the renewal of a
certificate and ends with one that has other names. Its keys are derived (`tickets`). Where they
cannot be set they are made with the context and live as long: contexts that are made before the
workers are forked have the same ones in all of them, and the others do not.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import time
from typing import Any, cast

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from lbproxy.cluster.node import Node, NodeTls
from lbproxy.cluster.stats import CertificateEnd
from lbproxy.config.certificates import UNREADABLE, trusting
from lbproxy.config.schema import CertificateSettings, ListenerTlsSettings
from lbproxy.files import FileMark, mark_of
from lbproxy.proxy.transport.tickets import Clock, TicketKeys, TicketSecret
from lbproxy.wire.client_hello import ClientHello

# TLS 1.2: forward secrecy and authenticated encryption, nothing else. TLS 1.3 has only such.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
_ALPN = ["http/1.1"]
# Of TLS 1.3, for each connection, resumed or not. A second one would take 7 % more of the time of
# each full handshake, and save one only for who comes back on two connections at once.
_TICKETS = 1
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TlsError(Exception):
    """A certificate, key or CA file that cannot be used. The text names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of a changed certificate file. Args: cert: its path; problem: "" if in use."""

    cert: str
    problem: str


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One certificate in use.

    Args: names: lower case, with wildcards; identity: those and its addresses, or its subject if it
    has neither: what a session is good for; expires: Unix seconds.
    """

    context: ssl.SSLContext
    names: tuple[str, ...]
    identity: frozenset[str]
    subject: str
    expires: float
    file: str
    serial: str


class _Names:
    """The outer context of one set of names. Args: shown: the context of the certificate in use."""

    def __init__(self, settings: ListenerTlsSettings, loaded: _Loaded, clock: Clock) -> None:
        self.shown = loaded.context
        self.context = _server_context(settings)
        self.context.num_tickets = _TICKETS
        self.tickets = TicketKeys(self.context, loaded.identity, clock)

    def meet(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return the server's side of a new connection."""
        self.tickets.refresh()
        made = self.context.wrap_bio(incoming, outgoing, server_side=True)
        made.context = self.shown  # tickets stay those of the context that it was made of
        return made


class _Arrival:
    """The server's side of TLS whose context is chosen when the ClientHello has come.

    From then on it is the `ssl.SSLObject` that is made of that context, and until then nothing:
    the one that serves a connection calls `do_handshake` first.
    """

    def __init__(
        self,
        choose: Callable[[bytes], _Names],
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> None:
        self._choose = choose
        self._incoming = incoming
        self._outgoing = outgoing
        self._hello = ClientHello()
        self._held = bytearray()  # what came of it
        self._chosen: ssl.SSLObject | None = None

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises: as `ssl.SSLObject.do_handshake`."""
        if self._chosen is None:
            data = self._incoming.read()
            name = self._hello.feed(data)
            self._held += data
            if name is None:
                raise ssl.SSLWantReadError
            self._incoming.write(self._held)
            self._chosen = self._choose(name).meet(self._incoming, self._outgoing)
        self._chosen.do_handshake()

    # Loops bind these before the handshake.

    def read(self, *arguments: Any) -> Any:
        """Return decrypted bytes, or how many. Args and Raises: as `ssl.SSLObject.read`."""
        assert self._chosen is not None
        return self._chosen.read(*arguments)

    def write(self, data: bytes) -> int:
        """Encrypt. Raises: as `ssl.SSLObject.write`."""
        assert self._chosen is not None
        return self._chosen.write(data)

    def pending(self) -> int:
        """Return how many decrypted bytes wait."""
        return 0 if self._chosen is None else self._chosen.pending()

    def __getattr__(self, name: str) -> Any:
        if self._chosen is None:
            raise AttributeError(name)
        return getattr(self._chosen, name)


class _ListenerContext(ssl.SSLContext):
    """What the listening socket is given: it only hands connections to other contexts."""

    names: ServerTls

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Return the SSL object of one connection; the arguments are those of a server."""
        only = self.names.only
        if only is not None:
            return only.meet(incoming, outgoing)
        return cast(ssl.SSLObject, _Arrival(self.names.choose, incoming, outgoing))


class ServerTls:
    """TLS of one listener.

    Args: settings: the listener's `tls` section, with absolute paths; secret: what ticket keys are
    derived from, None where they cannot be set; clock: Unix seconds, for their epochs.
    Raises: TlsError if a certificate cannot be used; from the constructor alone.

    Attributes: context: for the listening socket; it stays the same object; only: the names of
    every connection, None if the one that a client asks for decides.
    """

    def __init__(
        self,
        settings: ListenerTlsSettings,
        secret: TicketSecret | None = None,
        clock: Clock = time,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._marks = [_marks_of(certificate) for certificate in settings.certificates]
        self._loaded = [_load(certificate, settings) for certificate in settings.certificates]
        self._names: dict[frozenset[str], _Names] = {}
        self.only: _Names | None = None
        self._arrange()
        self.context = _ListenerContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.names = self

    def follow(self, other: ServerTls) -> None:
        """Take over the certificates and settings of another one, which is used no further.

        Sets of names that were there before keep their outer contexts, so that sessions of clients
        resume even where ticket keys cannot be set. A higher `min_version` ends those of versions
        that are spoken no more, another secret all.
        """
        self._settings = other._settings
        self._secret = other._secret
        self._marks = other._marks
        self._loaded = other._loaded
        self._names = other._names | self._names
        for names in self._names.values():
            names.context.minimum_version = _VERSIONS[self._settings.min_version]
        self._arrange()

    def does_as(self, other: ServerTls) -> bool:
        """Return True if both do the same already."""
        return self.does(other._settings, other._secret)

    def does(self, settings: ListenerTlsSettings, secret: TicketSecret | None) -> bool:
        """Return True if this is what it does already. Args: as of the constructor."""
        return self._settings == settings and self._secret == secret

    def choose(self, name: bytes) -> _Names:
        """Return the set of names with the one that a client asks for; the first one without a
        match."""
        wanted = name.decode("latin-1").lower().removesuffix(".")
        by_name = self._by_name
        # RFC 6125 section 6.4.3: a wildcard stands for one whole label, the leftmost.
        found = by_name.get(wanted) or by_name.get(f"*.{wanted.partition('.')[2]}")
        return found or self._default

    def reload_if_changed(self) -> list[Reload]:
        """Look at the files and load those that changed; to be called every few seconds.

        Costs two stats a certificate while nothing changed. A file that cannot be used leaves the
        certificate before it in place, and is reported once: again only when it changes again.
        """
        results: list[Reload] = []
        for index, certificate in enumerate(self._settings.certificates):
            # Taken before reading: what changes meanwhile is seen next time.
            marks = _marks_of(certificate)
            if marks == self._marks[index]:
                continue
            self._marks[index] = marks
            try:
                self._loaded[index] = _load(certificate, self._settings)
            except TlsError as error:
                results.append(Reload(certificate.cert, str(error)))
            else:
                results.append(Reload(certificate.cert, ""))
        if results:
            self._arrange()
        return results

    def expiries(self) -> dict[str, float]:
        """Return when the certificates in use end, as Unix seconds by subject."""
        return earliest((loaded.subject, loaded.expires) for loaded in self._loaded)

    def certificates(self) -> tuple[CertificateEnd, ...]:
        """Return when each certificate in use ends."""
        return tuple(
            CertificateEnd("listener", each.file, each.serial, each.subject, each.expires)
            for each in self._loaded
        )

    def _arrange(self) -> None:
        """Bring the outer contexts up to date with the certificates in use."""
        known, self._names = self._names, {}
        self._by_name: dict[str, _Names] = {}
        # The certificate that is named first in the file wins a name.
        for loaded in self._loaded:
            names = self._names.get(loaded.identity)
            if names is None:
                names = known.get(loaded.identity) or _Names(self._settings, loaded, self._clock)
                names.shown = loaded.context
                names.tickets.follow(self._secret)
                self._names[loaded.identity] = names
            for name in loaded.names:
                self._by_name.setdefault(name, names)
        self._default = next(iter(self._names.values()))
        self.only = self._default if len(self._names) == 1 else None


def earliest(ends: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the first end of each subject: of several certificates that is the one to renew."""
    found: dict[str, float] = {}
    for subject, end in ends:
        found[subject] = min(end, found.get(subject, end))
    return found


def _server_context(settings: ListenerTlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_ALPN)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # All ciphers are good, so the client knows best which of them is fast for it.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load(certificate: CertificateSettings, settings: ListenerTlsSettings) -> _Loaded:
    """Load one pair into a context of its own, which checks that key and certificate fit."""
    context = _server_context(settings)
    try:
        first = x509.load_pem_x509_certificates(Path(certificate.cert).read_bytes())[0]
        names, addresses = _alternatives(first)
        subject = first.subject.rfc4514_string() or (names[0] if names else certificate.cert)
        expires = first.not_valid_after_utc.timestamp()
        serial = f"{first.serial_number:x}"
    except OSError as error:
        raise TlsError(f"{certificate.cert}: {error.strerror}") from None
    except UNREADABLE:
        raise TlsError(f"{certificate.cert}: not a PEM certificate") from None
    try:
        # Without a password of ours OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(certificate.cert, certificate.key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(
                f"{certificate.key}: not the key of the certificate in {certificate.cert}"
            ) from None
        raise TlsError(
            f"{certificate.key}: not a PEM private key without passphrase, "
            f"or {certificate.cert} is damaged ({error.reason})"
        ) from None
    except OSError as error:
        raise TlsError(f"{certificate.key}: {error.strerror}") from None
    identity = frozenset((*names, *addresses) or [subject])
    return _Loaded(context, names, identity, subject, expires, certificate.cert, serial)


def _alternatives(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names and the addresses that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        )
    except (x509.ExtensionNotFound, *UNREADABLE):
        return (), ()
    alternatives = extension.value
    assert isinstance(alternatives, x509.SubjectAlternativeName)
    return (
        tuple(name.lower() for name in alternatives.get_values_for_type(x509.DNSName)),
        tuple(map(str, alternatives.get_values_for_type(x509.IPAddress))),
    )


def _marks_of(certificate: CertificateSettings) -> tuple[FileMark | None, FileMark | None]:
    return mark_of(certificate.cert), mark_of(certificate.key)


def client_context(tls: NodeTls) -> ssl.SSLContext:
    """Return the context for connections to an https node: verified unless `tls` says otherwise.

    Nodes that are verified alike share it, as each holds its authorities in memory. Reading those
    of the system takes a tenth of a second, so it is not for the event loop's thread.

    uvloop calls a protocol's `eof_received` only after close_notify: if a body ends with the
    connection, `connection_lost` without it means that the body was cut off.
    Raises: TlsError if the CA file cannot be used.
    """
    return _client_context(tls.ca, tls.verify, None if tls.ca is None else mark_of(tls.ca))


@lru_cache(maxsize=256)
def _client_context(ca: str | None, verify: bool, mark: FileMark | None) -> ssl.SSLContext:
    """Args: mark: of the file as it is, so that a changed one is read."""
    try:
        context = trusting(ca, verify)
    except ssl.SSLError as error:
        raise TlsError(f"{ca}: not a PEM file of certificates ({error.reason})") from None
    except OSError as error:
        raise TlsError(f"{ca}: {error.strerror}") from None
    context.set_alpn_protocols(_ALPN)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def server_hostname(node: Node) -> str:
    """Return what SNI says and the node's certificate must hold: `tls.server_name`, else the host.

    A host that is an IP address is not sent as SNI and is looked for among the certificate's
    addresses; so a node reached by address needs either that or a `server_name`.
    """
    return node.tls.server_name or node.host
