"""Certificates: can a listener's be used, how long still, and which of a node are trusted."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path as FilePath

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from lbproxy.config.problems import Finding, Path, error, warning
from lbproxy.config.schema import Certificate
from lbproxy.config.units import NO_FILE

_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
# What is raised by a certificate or key that is no such thing, or of an unknown kind.
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def check_certificate(certificate: Certificate, path: Path, now: datetime) -> Iterator[Finding]:
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
        yield from _lasts(leaf, (*path, "cert"), now)


def _refused(
    certificate: Certificate,
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


def trusting(ca: str | None, verify: bool) -> ssl.SSLContext:
    """Return a context for connections to a node, the same one for requests and for probes.

    Args: ca: file of the authorities that are trusted instead of the system's; an intermediate one
    or the node's own certificate may stand there as well; verify: False trusts anybody.
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
