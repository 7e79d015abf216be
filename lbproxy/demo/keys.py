"""One signing key, the same on every node that shares the secret.

So a token that one node made verifies at all of them, without a database. Compact JWS with
Ed25519 (RFC 7515, RFC 8037); `typ` keeps a code from being used as an access token.
"""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Claims = dict[str, object]


class TokenError(Exception):
    """A token that is not ours, not of this kind, or too old. The text may be shown to anybody."""


def encode_segment(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_segment(text: str) -> bytes:
    """Return the bytes of base64url text. Raises: ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Keys:
    """Sign and verify with a key derived from a secret.

    Args: secret: shared by the nodes of one demo, at least 16 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError("the shared secret of demo nodes needs at least 16 bytes")
        seed = HKDF(SHA256(), 32, salt=None, info=b"lbproxy demo signing key").derive(secret)
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key()
        raw = self._public.public_bytes_raw()
        self._x = encode_segment(raw)
        self.key_id = encode_segment(hashlib.sha256(raw).digest()[:9])

    def jwk_set(self) -> dict[str, list[dict[str, str]]]:
        """Return the public key as a JWK set (RFC 7517, RFC 8037)."""
        key = {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA"}
        return {"keys": [key | {"kid": self.key_id, "x": self._x}]}

    def sign(self, typ: str, claims: Claims) -> str:
        """Return the claims as a compact JWS of this `typ`."""
        header = {"alg": "EdDSA", "kid": self.key_id, "typ": typ}
        signed = ".".join(
            encode_segment(json.dumps(part, separators=(",", ":")).encode())
            for part in (header, claims)
        )
        return f"{signed}.{encode_segment(self._private.sign(signed.encode()))}"

    def verify(self, typ: str, token: str, now: float) -> Claims:
        """Return the claims of a token of this `typ`.

        Args: now: Unix seconds; a token whose `exp` is not later is refused.
        Raises: TokenError.
        """
        try:
            signed, _, signature = token.rpartition(".")
            header_text, _, claims_text = signed.partition(".")
            header = json.loads(decode_segment(header_text))
            self._public.verify(decode_segment(signature), signed.encode())
            claims = json.loads(decode_segment(claims_text))
        except (ValueError, InvalidSignature):
            raise TokenError("not a token of this issuer") from None
        if not isinstance(header, dict) or header.get("typ") != typ or header.get("alg") != "EdDSA":
            raise TokenError(f"not a token of the kind {typ}")
        if not isinstance(claims, dict):
            raise TokenError("not a token of this issuer")
        expires = claims.get("exp")
        if not isinstance(expires, int | float) or expires <= now:
            raise TokenError("expired")
        return claims
