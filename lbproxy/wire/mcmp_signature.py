"""Signed MCMP messages: how an agent proves with a shared token that a message is its own.

The request carries one more field:

    Authorization: LBPROXY-HMAC-SHA256 ts=1760000000123, nonce=4f..., mac=9c...

`mac` is the HMAC-SHA256 by the token over method, target, `ts`, `nonce` and body, each behind its
length, so that no two messages have the same input. `ts` is Unix time in milliseconds; a message is
taken within a window around it, and its nonce once in that time. The Host field is not covered:
another lbproxy with the same token takes the message, too. TLS, not the signature, keeps out an
attacker who can hold back or carry over messages on the way.
"""

from __future__ import annotations

import hmac
import re

SCHEME = b"LBPROXY-HMAC-SHA256"
WINDOW_S = 60.0  # clocks under NTP differ by far less
# A thousand agents with a message every two seconds send 60,000 in two windows.
MAX_NONCES = 100_000

_FIELD = re.compile(
    rb"(?i:lbproxy-hmac-sha256)[ ]+"
    rb"ts=([0-9]{1,16}), ?nonce=([A-Za-z0-9_-]{16,64}), ?mac=([0-9a-f]{64})"
)
# Keeps these signatures apart from others that the same token may make one day.
_PURPOSE = b"lbproxy mcmp 1"


def key_of(token: bytes) -> bytes:
    """Return the key in the content of a token file: without the white space around it."""
    return token.strip()


def sign(key: bytes, method: bytes, target: bytes, body: bytes, now: float, nonce: bytes) -> bytes:
    """Return the value of the Authorization field.

    Args: now: Unix seconds; nonce: 16 to 64 letters, digits, `-` and `_`, never used twice.
    """
    ts = b"%d" % round(now * 1000)
    mac = _mac(key, method, target, ts, nonce, body)
    return b"%b ts=%b, nonce=%b, mac=%b" % (SCHEME, ts, nonce, mac)


def _mac(key: bytes, *parts: bytes) -> bytes:
    message = b"".join(len(part).to_bytes(8) + part for part in (_PURPOSE, *parts))
    return hmac.digest(key, message, "sha256").hex().encode()


class Verifier:
    """Says of each message whether the token's holder sent it, just now and for the first time.

    Nonces are kept in two generations, each of two windows' length, so every one is remembered for
    as long as its message could be taken. Only signed messages get that far, so a stranger cannot
    fill the memory.

    Args: key: as `key_of` returns it; since: Unix seconds; older messages are refused, which keeps
    out those that somebody recorded before a restart or a new token cleared the nonces.
    """

    def __init__(
        self,
        key: bytes,
        *,
        window_s: float = WINDOW_S,
        since: float = 0.0,
        max_nonces: int = MAX_NONCES,
    ) -> None:
        self._key = key
        self._window_s = window_s
        self._since = since
        self._max_nonces = max_nonces
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._began = since

    def check(
        self, header: bytes | None, method: bytes, target: bytes, body: bytes, now: float
    ) -> str | None:
        """Return None for a good message, else the reason in words without a secret.

        Args: header: the value of the only Authorization field; now: Unix seconds.
        """
        if header is None:
            return "it is not signed: the agent needs token_file"
        match = _FIELD.fullmatch(header)
        if match is None:
            return f"its Authorization field is no {SCHEME.decode()} signature"
        ts, nonce, mac = match.groups()
        if not hmac.compare_digest(mac, _mac(self._key, method, target, ts, nonce, body)):
            return "its signature does not fit: is the token the same on both sides?"
        # Only the holder of the token learns more than that.
        sent = int(ts) / 1000
        if abs(now - sent) > self._window_s:
            return f"it was signed {_apart(sent - now)}: do the clocks agree?"
        if sent < self._since:
            return "it was signed before the token was read here"
        return self._take(nonce, now)

    def _take(self, nonce: bytes, now: float) -> str | None:
        if now >= self._began + 2 * self._window_s:
            stale = now >= self._began + 4 * self._window_s
            self._old = set() if stale else self._new
            self._new = set()
            self._began = now
        elif now < self._began:
            self._began = now  # the clock was set back; without this no nonce would be forgotten
        if nonce in self._new or nonce in self._old:
            return "it was received before"
        if len(self._new) + len(self._old) >= self._max_nonces:
            return "too many signed messages came within a short time"
        self._new.add(nonce)
        return None


def _apart(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'ago'}"
