"""Keys of session tickets: derived from a secret, so that every process has the same ones.

They hold for one listener, one policy, one set of names and one epoch of the wall clock, and are
good in every worker, whenever it was forked, in the next version of the program, and on every
machine that has the secret. OpenSSL holds the keys of one epoch: with the next one, tickets of the
last are good no more, and their clients do one full handshake.

Python's `ssl` cannot set them. `SSL_CTX_ctrl` of the OpenSSL that it has loaded can, on the pointer
that CPython keeps first in an `SSLContext`. Neither is promised, so nobody may call `set_keys`
unless a process that may die of it has tried it before (`lbproxy.runtime.ticket_trial`).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from time import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# A ticket is good for two hours, so at most one client in six loses one to a change of keys.
EPOCH_S = 12 * 3600
# A name, a key for HMAC-SHA256 and one for AES-256, in OpenSSL 1.1.1 and later.
KEY_BYTES = 16 + 32 + 32
_GET_KEYS = 58  # SSL_CTRL_GET_TLSEXT_TICKET_KEYS
_SET_KEYS = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS
# Who changes how keys are derived writes another one: both kinds may be in use side by side.
_LABEL = b"lbproxy session tickets 1"

Clock = Callable[[], float]


class TicketError(Exception):
    """Keys cannot be set here; the text says why."""


@dataclass(frozen=True, slots=True)
class TicketSecret:
    """What the ticket keys of one listener are derived from.

    Args: secret: 32 bytes or more; listener: its name; policy: what else a session was made under,
    such as whose client certificates are taken: a ticket is good under the same one only.
    """

    secret: bytes = field(repr=False)
    listener: str
    policy: str = ""

    def keys(self, names: Iterable[str], epoch: int) -> bytes:
        """Return KEY_BYTES for a set of names. Source: RFC 5869."""
        parts = [self.listener, self.policy, str(epoch), *sorted(names)]
        return HKDF(hashes.SHA256(), KEY_BYTES, None, _info(parts)).derive(self.secret)


class TicketKeys:
    """The ticket keys of one context. Args: names: it is for; clock: Unix seconds."""

    def __init__(self, context: ssl.SSLContext, names: frozenset[str], clock: Clock = time) -> None:
        self._context = context
        self._names = names
        self._clock = clock
        self._secret: TicketSecret | None = None
        self._epoch = 0

    def follow(self, secret: TicketSecret | None) -> None:
        """Derive keys from this from now on; None: they stay as they are."""
        if secret is not None and secret != self._secret:
            self._secret = secret
            self._set(self._now())

    def refresh(self) -> None:
        """Set those of the present epoch; to be called before each handshake."""
        if self._secret is not None and self._now() != self._epoch:
            self._set(self._now())

    def _now(self) -> int:
        return int(self._clock() // EPOCH_S)

    def _set(self, epoch: int) -> None:
        assert self._secret is not None
        set_keys(self._context, self._secret.keys(self._names, epoch))
        self._epoch = epoch


def set_keys(context: ssl.SSLContext, keys: bytes) -> None:
    """Have a context make and take tickets under these keys from now on.

    Raises: TicketError. If CPython is built in another way than is taken for granted here, the
    process dies.
    """
    control = _control()  # before ctypes is taken for granted
    pointer = _pointer(context)
    if control(pointer, _GET_KEYS, 0, None) != KEY_BYTES:
        raise TicketError("its OpenSSL has ticket keys of another size")
    if control(pointer, _SET_KEYS, len(keys), keys) != 1:
        raise TicketError("its OpenSSL takes no ticket keys")


def _pointer(context: ssl.SSLContext) -> int | None:
    """Return the SSL_CTX: the first field of a context, behind what all objects have."""
    import ctypes

    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value


@cache
def _control() -> Callable[[int | None, int, int, bytes | None], int]:
    """Return SSL_CTX_ctrl of the OpenSSL that `ssl` uses. Raises: TicketError."""
    try:
        import _ssl
        import ctypes

        function = ctypes.CDLL(_ssl.__file__).SSL_CTX_ctrl
    except (ImportError, OSError, AttributeError) as error:
        raise TicketError(f"its OpenSSL cannot be reached ({error})") from None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    function.restype = ctypes.c_long
    return function


def _info(parts: Iterable[str]) -> bytes:
    """Return a text that no other parts have: each of them follows its length."""
    encoded = [part.encode() for part in parts]
    return _LABEL + b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
