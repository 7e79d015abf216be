"""Tokens verify on every node with the secret, and nowhere else."""

from __future__ import annotations

import pytest

from lbproxy.demo.keys import Keys, TokenError, decode_segment, encode_segment

SECRET = b"a secret of at least 16 bytes"


def test_a_token_of_one_node_verifies_at_another() -> None:
    token = Keys(SECRET).sign("JWT", {"sub": "ann", "exp": 100})
    assert Keys(SECRET).verify("JWT", token, 99.0) == {"sub": "ann", "exp": 100}


def test_another_secret_makes_another_key() -> None:
    token = Keys(SECRET).sign("JWT", {"exp": 100})
    with pytest.raises(TokenError, match="issuer"):
        Keys(SECRET + b"!").verify("JWT", token, 99.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda token: "", "issuer"),
        (lambda token: "a.b", "issuer"),
        (lambda token: token[:-4] + "AAAA", "issuer"),
        (lambda token: "é" + token, "issuer"),
        (
            lambda token: ".".join(
                [encode_segment(b'{"alg":"none","typ":"JWT"}'), *token.split(".")[1:]]
            ),
            "issuer",
        ),
    ],
)
def test_a_changed_token_is_refused(change: object, reason: str) -> None:
    token = Keys(SECRET).sign("JWT", {"exp": 100})
    with pytest.raises(TokenError, match=reason):
        Keys(SECRET).verify("JWT", change(token), 99.0)  # type: ignore[operator]


def test_kind_and_age_count() -> None:
    keys = Keys(SECRET)
    with pytest.raises(TokenError, match="kind"):
        keys.verify("at+jwt", keys.sign("JWT", {"exp": 100}), 99.0)
    with pytest.raises(TokenError, match="expired"):
        keys.verify("JWT", keys.sign("JWT", {"exp": 100}), 100.0)
    with pytest.raises(TokenError, match="expired"):
        keys.verify("JWT", keys.sign("JWT", {}), 0.0)


def test_the_public_key_is_a_jwk() -> None:
    (key,) = Keys(SECRET).jwk_set()["keys"]
    assert key["kty"] == "OKP"
    assert len(decode_segment(key["x"])) == 32
    assert key["kid"] == Keys(SECRET).key_id


def test_a_short_secret_is_an_error() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Keys(b"short")
