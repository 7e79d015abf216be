"""Certificates: can a listener use them, for how long, and whose does lbproxy trust at a node?"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path as FilePath

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from lbproxy.config.findings import Finding, Path, error, warning
from lbproxy.config.schema import CertificateSettings
from lbproxy.config.units import NO_FILE

_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
_MONTH = timedelta(days=30)
_SHORT_LIVED = timedelta(days=8)
# Raised for a file that holds no certificate or key, or one of an unknown kind.
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def check_certificate(
    certificate: CertificateSettings, path: Path, now: datetime
) -> Iterator[Finding]:
    """Yield what is wrong with a certificate and its key. Args: now: with a time zone."""
    leaf, key = None, None
    if certificate.cert != NO_FILE:
        try:
            leaf = x509.load_pem_x509_certificates(FilePath(certificate.cert).read_bytes())[0]
            leaf.public_key().public_bytes(*_SPKI)
        except UNREADABLE:
            leaf = None
            yield error((*path, "cert"), "holds no certificate in PEM form")
    if certificate.key != NO_FILE:
        try:
            key = serialization.load_pem_private_key(FilePath(certificate.key).read_bytes(), None)
        except TypeError:
            yield error((*path, "key"), "is protected by a passphrase; store it without one")
        except UNREADABLE:
            yield error((*path, "key"), "holds no private key in PEM form")
    if leaf is not None and key is not None:
        fault = _refused(certificate, leaf, key, path)
        if fault is not None:
            yield fault
            return
    if leaf is not None:
        if not names_in(certificate.cert):
            yield warning(
                (*path, "cert"),
                "holds no alternative name (SAN): a common name (CN) alone is never chosen by SNI, "
                "and no browser takes it",
            )
        yield from _lasts(leaf, (*path, "cert"), now)


def _refused(
    certificate: CertificateSettings,
    leaf: x509.Certificate,
    key: PrivateKeyTypes,
    path: Path,
) -> Finding | None:
    """Return why a certificate and a key, each readable, cannot be used together."""
    if leaf.public_key().public_bytes(*_SPKI) != key.public_key().public_bytes(*_SPKI):
        return error((*path, "key"), f"is not the key of {certificate.cert}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.cert, certificate.key)
    except ssl.SSLError as problem:
        return error((*path, "cert"), f"is refused by OpenSSL: {problem.reason or problem}")
    return None


def _lasts(leaf: x509.Certificate, path: Path, now: datetime) -> Iterator[Finding]:
    if leaf.not_valid_after_utc <= now:
        yield warning(path, f"has expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    elif leaf.not_valid_before_utc > now:
        yield warning(path, f"is valid only from {leaf.not_valid_before_utc:%Y-%m-%d} on")
    elif (left := leaf.not_valid_after_utc - now) < _soon(leaf):
        days = f"in {left.days} days" if left.days > 1 else f"within {left.days + 1} days"
        yield warning(path, f"ends on {leaf.not_valid_after_utc:%Y-%m-%d}, {days}; renew it")


def _soon(leaf: x509.Certificate) -> timedelta:
    """Return how long before its end a certificate should have been renewed."""
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    # A program renews short-lived ones, at about two thirds of their life.
    return life / 4 if life <= _SHORT_LIVED else _MONTH


def names_in(file: str) -> frozenset[str] | None:
    """Return the names and addresses that a certificate is for, in lower case.

    Only the alternative names: clients and SNI look at no others. Returns: None if the file holds
    no certificate.
    """
    try:
        leaf = x509.load_pem_x509_certificates(FilePath(file).read_bytes())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    except UNREADABLE:
        return None
    found = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return frozenset(found | {str(each) for each in names.get_values_for_type(x509.IPAddress)})


def trusting(ca: str | None, verify: bool) -> ssl.SSLContext:
    """Return a context for connections to a node, the same one for requests and for probes.

    Args: ca: file of the authorities that are trusted instead of the system's; it may also hold an
    intermediate one, or the node's own certificate; verify: False trusts anybody.
    Raises: OSError: the file cannot be used; ssl.SSLError, which is one: it holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    else:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cafile=ca)
    return context


def check_authority(ca: str, path: Path) -> Iterator[Finding]:
    """Yield what is wrong with a file of certificate authorities."""
    if ca == NO_FILE:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except ssl.SSLError:
        yield error(path, "holds no certificate in PEM form")
