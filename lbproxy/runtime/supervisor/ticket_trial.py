"""Tries, in a process that may die of it, whether ticket keys can be set.

It costs some milliseconds, which only those pay who have a listener with TLS.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import resource
import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lbproxy.config.schema import Config
from lbproxy.config.ticket_keys import why_no_keys
from lbproxy.proxy.transport.tickets import KEY_BYTES, TicketError, set_keys
from lbproxy.runtime.supervisor.fork import count_threads, fork
from lbproxy.runtime.ticket_secrets import warn_of_files

# What reads memory that is not what it takes it for may go round for ever.
LIMIT_S = 5
_VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
_WORKS, _REFUSED, _NO_EFFECT, _UNTRIED = range(4)  # exit codes

_log = logging.getLogger("lbproxy.tls")


def can_set_tickets(config: Config, known: bool | None = None) -> bool | None:
    """Return whether ticket keys can be set; None if nobody needs to know.

    Says so of each file of ticket keys if they cannot. Args: known: what this has returned before.
    """
    if known is None and any(listener.tls for listener in config.listeners):
        known = ticket_keys_work()
    if known is False:
        warn_of_files(config)
    return known


def ticket_keys_work() -> bool:
    """Return whether ticket keys can be set in this process and its children; say so if not.

    Nobody can try in a process with threads, such as the demo's: then it is False, without a word.
    """
    if count_threads() > 1:
        return False
    why = why_no_keys() or _why_not(os.waitstatus_to_exitcode(_tried()))
    if why:
        _log.warning(
            "this Python cannot be told the keys of session tickets, as %s: TLS sessions resume in "
            "every worker only for listeners and names that are there at the start, and until "
            "lbproxy ends",
            why,
        )
    return not why


def _tried() -> int:
    """Return the status with which a trial has ended."""
    pid = fork("lbproxy trial", _try)
    return os.waitpid(pid, 0)[1]


def _why_not(code: int) -> str:
    match code:
        case 0:
            return ""
        case 1:
            return "its OpenSSL takes none"
        case 2:
            return "sessions do not resume by them"
        case 3:
            return "it cannot be tried here"
        case _:
            return f"it is built in another way (a trial ended with {code})"


def _try() -> int:
    """In the child."""
    faulthandler.disable()
    with contextlib.suppress(OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # to die is one of its answers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.alarm(LIMIT_S)
    try:
        return _WORKS if all(map(_resumes, _VERSIONS)) else _NO_EFFECT
    except TicketError:
        return _REFUSED
    except OSError:  # no memory, no /proc, or TLS itself fails
        return _UNTRIED


def _resumes(version: ssl.TLSVersion) -> bool:
    """Return whether contexts take each other's tickets with the same keys, and only then."""
    ours, others = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _certificate() as file:
        shown.load_cert_chain(file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    _, session = _meet(_outer(ours), shown, client, None)
    taken, _ = _meet(_outer(ours), shown, client, session)
    stolen, _ = _meet(_outer(others), shown, client, session)
    return taken and not stolen


def _outer(keys: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    set_keys(context, keys)
    return context


def _meet(
    outer: ssl.SSLContext,
    shown: ssl.SSLContext,
    client: ssl.SSLContext,
    session: ssl.SSLSession | None,
) -> tuple[bool, ssl.SSLSession | None]:
    """Shake hands in memory; return whether the session was resumed, and the client's next one.

    Args: outer, shown: the server's contexts, as `transport.tls` uses them.
    """
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(back, there, session=session)
    answers = outer.wrap_bio(there, back, server_side=True)
    answers.context = shown
    for _ in range(2):
        for side in (asks, answers):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    with contextlib.suppress(ssl.SSLWantReadError):
        asks.do_handshake()
        asks.read(1)  # tickets of TLS 1.3 come behind the handshake
    return bool(asks.session_reused), asks.session


@contextlib.contextmanager
def _certificate() -> Iterator[str]:
    """Yield the name of a file in memory with a key and a certificate, for this trial alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trial")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    descriptor = os.memfd_create("trial")
    try:
        os.write(
            descriptor,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM),
        )
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
