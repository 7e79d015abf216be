"""Signatures of MCMP messages: what is taken, what is refused and why, and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lbproxy.wire.mcmp_signature import SCHEME, WINDOW_S, Verifier, key_of, sign

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_760_000_000.0
BODY = b"JVMRoute=kc1&Load=50"
NONCE = b"n" * 16


def header(
    *,
    key: bytes = KEY,
    method: bytes = b"STATUS",
    target: bytes = b"/",
    body: bytes = BODY,
    now: float = NOW,
    nonce: bytes = NONCE,
) -> bytes:
    return sign(key, method, target, body, now, nonce)


def check(verifier: Verifier, value: bytes | None, now: float = NOW) -> str | None:
    return verifier.check(value, b"STATUS", b"/", BODY, now)


def test_the_form_of_the_field() -> None:
    """A vector that another implementation can be held to."""
    assert header() == (
        b"LBPROXY-HMAC-SHA256 ts=1760000000000, nonce=nnnnnnnnnnnnnnnn, "
        b"mac=c67079fe44a0eccf79b76c48e857f69c10a22cf9cb3766ede74cc7aeceb5f1e8"
    )


def test_a_signed_message_is_taken_once() -> None:
    verifier = Verifier(KEY)
    assert check(verifier, header()) is None
    assert check(verifier, header()) == "it was received before"
    assert check(verifier, header(nonce=b"m" * 16)) is None


def test_an_unsigned_message_is_refused() -> None:
    assert check(Verifier(KEY), None) == "it is not signed: the agent needs token_file"


@pytest.mark.parametrize(
    "changed",
    [
        {"key": KEY[:-1] + b"x"},
        {"method": b"CONFIG"},
        {"target": b"/*"},
        {"body": BODY + b"0"},
        {"body": b""},
    ],
    ids=str,
)
def test_whatever_is_changed_breaks_it(changed: dict[str, bytes]) -> None:
    verifier = Verifier(KEY)
    assert check(verifier, header(**changed)) == (  # type: ignore[arg-type]
        "its signature does not fit: is the token the same on both sides?"
    )
    assert check(verifier, header()) is None, "and takes no nonce away"


def test_time_and_nonce_cannot_be_changed() -> None:
    good = header()
    for other in (
        good.replace(b"ts=1760000000000", b"ts=1760000000001"),
        good.replace(b"nonce=n", b"nonce=o"),
    ):
        assert check(Verifier(KEY), other) is not None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        SCHEME,
        b"Bearer " + KEY,
        header() + b" ",
        b" " + header(),
        header().replace(b", ", b";"),
        header().replace(b"ts=", b"TS="),
        header().upper(),
        header(nonce=b"short"),
        header(nonce=b"n" * 65),
        header(nonce=b"n" * 16 + b"\n"),
        header().replace(b"ts=1", b"ts=+1"),
        header().replace(b"ts=", b"ts=99999999999999999"),
        header() + b", mac=" + b"0" * 64,
        "LBPROXY-HMAC-SHA256 ts=١٢٣, nonce=nnnnnnnnnnnnnnnn, mac=".encode() + b"0" * 64,
    ],
)
def test_what_is_no_signature(value: bytes) -> None:
    assert check(Verifier(KEY), value) == (
        "its Authorization field is no LBPROXY-HMAC-SHA256 signature"
    )


def test_the_name_of_the_scheme_is_in_any_case() -> None:
    """RFC 9110 section 11.1: schemes are compared without case."""
    assert check(Verifier(KEY), header().replace(SCHEME, SCHEME.lower())) is None


@pytest.mark.parametrize("offset", [-WINDOW_S, 0.0, WINDOW_S])
def test_within_the_window_it_is_taken(offset: float) -> None:
    assert check(Verifier(KEY), header(), NOW + offset) is None


@pytest.mark.parametrize(("offset", "said"), [(61.0, "61 s ago"), (-90.0, "90 s ahead")])
def test_outside_the_window_it_says_how_far(offset: float, said: str) -> None:
    why = check(Verifier(KEY), header(), NOW + offset)
    assert why == f"it was signed {said}: do the clocks agree?"


def test_a_stranger_does_not_learn_how_far_off_the_clock_is() -> None:
    why = check(Verifier(KEY), header(key=b"guess"), NOW + 600)
    assert why is not None
    assert "token" in why


def test_what_was_recorded_before_a_restart_is_refused() -> None:
    """The nonces are gone, the messages are not."""
    verifier = Verifier(KEY, since=NOW + 1)
    assert check(verifier, header(), NOW + 2) == "it was signed before the token was read here"
    assert check(verifier, header(now=NOW + 1.5), NOW + 2) is None


def test_a_nonce_is_remembered_while_its_message_may_come_again() -> None:
    """Even if others have begun a new generation since."""
    verifier = Verifier(KEY, since=NOW)
    ahead = header(now=NOW + 2 * WINDOW_S)
    assert check(verifier, ahead, NOW + 1.5 * WINDOW_S) is None
    for step in (2.1, 2.5, 2.9):
        now = NOW + step * WINDOW_S
        assert check(verifier, header(now=now, nonce=b"%016d" % round(now)), now) is None
        assert check(verifier, ahead, now) == "it was received before"


def test_the_memory_is_bounded() -> None:
    verifier = Verifier(KEY, max_nonces=3)
    for number in range(3):
        assert check(verifier, header(nonce=b"%016d" % number)) is None
    assert check(verifier, header()) == "too many signed messages came within a short time"
    later = NOW + 4 * WINDOW_S
    assert check(verifier, header(now=later), later) is None, "old ones are forgotten"


def test_a_clock_that_is_set_back_does_not_fill_the_memory_for_good() -> None:
    verifier = Verifier(KEY, max_nonces=2)
    assert check(verifier, header()) is None
    early = NOW - 3600
    assert check(verifier, header(now=early), early) == "it was received before"
    assert check(verifier, header(now=early, nonce=b"m" * 16), early) is None
    later = early + 4 * WINDOW_S
    assert check(verifier, header(now=later, nonce=b"o" * 16), later) is None


def test_white_space_around_a_token_is_not_part_of_it() -> None:
    assert key_of(b"  secret token\r\n") == b"secret token"


parts = st.binary(max_size=40)


@given(parts, parts, parts, parts, parts, parts)
def test_no_two_messages_share_a_signature(
    method: bytes, target: bytes, body: bytes, method2: bytes, target2: bytes, body2: bytes
) -> None:
    assume((method, target, body) != (method2, target2, body2))
    value = sign(KEY, method, target, body, NOW, NONCE)
    assert Verifier(KEY).check(value, method2, target2, body2, NOW) is not None
    assert Verifier(KEY).check(value, method, target, body, NOW) is None


@given(st.binary(max_size=8), st.integers(0, 16))
def test_moving_bytes_between_the_parts_changes_it(text: bytes, cut: int) -> None:
    whole = b"STATUS/" + text
    cut = min(cut, len(whole))
    assume(cut != len(b"STATUS"))
    value = sign(KEY, b"STATUS", whole[6:], b"", NOW, NONCE)
    assert Verifier(KEY).check(value, whole[:cut], whole[cut:], b"", NOW) is not None


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_never_raise(value: bytes) -> None:
    assert check(Verifier(KEY), value) is not None


@given(st.lists(st.floats(-3 * WINDOW_S, 3 * WINDOW_S), min_size=1, max_size=30))
def test_no_message_is_taken_twice_however_time_goes(steps: list[float]) -> None:
    """Time goes on in steps of any length; one message is offered again and again."""
    verifier = Verifier(KEY)
    now = NOW
    taken = 0
    for step in steps:
        now += abs(step)
        taken += check(verifier, header(now=NOW + WINDOW_S), now) is None
        check(verifier, header(now=now, nonce=b"%016d" % round(now)), now)
    assert taken <= 1
