"""AJP/1.3 to the node: how much a packet holds, and that nobody but lbproxy says more in it."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import corpus
from tests.fuzz.ajp13 import naive
from tests.fuzz.mutate import mutate
from tests.wire.ajp13_asking import EXAMPLE, FACTS, encode, fields, head, refused

if TYPE_CHECKING:
    from tests.wire.conftest import Wire


def test_a_packet_of_exactly_the_size(wire: Wire) -> None:
    """Tomcat takes 8192 bytes and answers 500 to one more."""
    encoder, facts = wire.ajp_encoder(), wire.ajp_facts(**FACTS)
    for size in (8192, 65536):
        room = size - len(encoder.forward_request(wire.as_head(head(b"X:")), b"", facts, size))
        largest = head(b"X: " + b"y" * room)
        assert len(encoder.forward_request(wire.as_head(largest), b"", facts, size)) == size
        longer = head(b"X: " + b"y" * (room + 1))
        assert refused(wire, longer, size, **FACTS) == "head_too_large"
    assert refused(wire, longer, 1 << 20, **FACTS) == "head_too_large"  # no packet is larger


def test_no_size_is_exceeded_by_a_byte(wire: Wire, plain: Wire) -> None:
    """Wherever the packet ends: in a number, a name, an escape, an attribute."""
    facts = wire.ajp_facts(**FACTS)
    encoder: Any = wire.ajp_encoder()
    request = EXAMPLE.replace(b"POST", b"PATCH").replace(b"?x=1", b"\xe4\xe4?x=\xe4\xe4")
    whole = encoder.forward_request(wire.as_head(request), b"", facts, 8192)
    for size in range(-1, len(whole)):
        if wire is plain:
            encoder._packet = bytearray(max(size, 0))  # a byte too many raises IndexError
        with pytest.raises(wire.bad_head) as caught:
            encoder.forward_request(wire.as_head(request), b"", facts, size)
        assert caught.value.failure.reason in ("head_too_large", "request_line_too_long")
    if wire is plain:
        encoder._packet = bytearray(len(whole))
    assert encoder.forward_request(wire.as_head(request), b"", facts, len(whole)) == whole


@pytest.mark.parametrize("target", [b"/" + b"a" * 8200, b"/?" + b"a" * 8200, b"/" + b"\xe4" * 2800])
def test_a_target_that_is_too_long_by_itself(wire: Wire, target: bytes) -> None:
    assert refused(wire, head(first=b"GET " + target + b" HTTP/1.1")) == "request_line_too_long"


def test_a_target_that_is_too_long_beside_the_rest(wire: Wire) -> None:
    """It is the cookies that a client can delete."""
    for target in (b"/?" + b"a" * 5000, b"/" + b"a" * 5000):
        request = head(b"Cookie: " + b"c" * 5000, first=b"GET " + target + b" HTTP/1.1")
        assert refused(wire, request) == "head_too_large"


def test_names_have_at_most_255_bytes(wire: Wire) -> None:
    """Undertow takes the first byte of a longer one's length for a code."""
    assert fields(encode(wire, head(b"a" * 255 + b": b"))) == [(b"a" * 255, b"b")]
    assert refused(wire, head(b"a" * 256 + b": b")) == "head_too_large"
    assert refused(wire, head(b"a" * 0xA001 + b": b"), 65536) == "head_too_large"


def test_there_are_at_most_100_fields(wire: Wire) -> None:
    """Tomcat answers 500 to more. Those that do not go on do not count."""
    lines = [b"A: b"] * 99 + [b"TE: x"] * 9
    assert len(encode(wire, head(*lines)).headers) == 100
    assert refused(wire, head(b"A: b", *lines)) == "too_many_fields"
    assert refused(wire, head(b"Transfer-Encoding: chunked", *lines)) == "too_many_fields"
    assert refused(wire, head(*lines * 9), 65536) == "too_many_fields"


def test_an_encoder_forgets_what_it_refused(wire: Wire) -> None:
    encoder, facts = wire.ajp_encoder(), wire.ajp_facts(**FACTS)
    for bad in (head(b"A: b\x00"), head(b"A: " + b"b" * 9000), b"", EXAMPLE[:-2]):
        with pytest.raises(wire.bad_head):
            encoder.forward_request(wire.as_head(bad), b"", facts, 8192)
        packet = encoder.forward_request(wire.as_head(EXAMPLE), b"", facts, 8192)
        assert sha256(packet).hexdigest()[:16] == "cde4c3892540ebbf"


NAMES = st.sampled_from(
    b"a A-b x-forwarded-for cookie Content-Type query_string stored_method secret AJP_REMOTE_PORT "
    b"javax.servlet.include.request_uri remote_user REMOTE_ADDR ssl_cert accept upgrade te "
    b"proxy-connection keep-alive x_y pragma".split()
) | st.text("abAB-_.!~", min_size=1, max_size=260).map(str.encode)
VALUES = st.binary(max_size=60).map(lambda text: bytes(c for c in text if c >= 32 and c != 127)) | (
    st.sampled_from([b"\xff", b"\xff\xff", b"\xa0\t\xa0", b"\xff ", b"0" * 300, b"a\tb"])
)
PATHS = st.binary(max_size=40).map(
    lambda text: b"/" + bytes(c for c in text if c > 32 and c not in b"#?\x7f")
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"GET", b"POST", b"PATCH", b"SECRET"]),
    PATHS,
    st.none() | PATHS,
    st.lists(st.tuples(NAMES, VALUES), max_size=30),
    st.booleans(),
)
def test_nothing_of_a_client_becomes_more_than_a_value(
    wire: Wire,
    method: bytes,
    path: bytes,
    query: bytes | None,
    sent: list[tuple[bytes, bytes]],
    chunked: bool,
) -> None:
    """A container reads the method, the target and the fields that were sent, and of the rest what
    the proxy says: no field, method or target makes an attribute of its own."""
    if chunked:
        sent = [(b"Transfer-Encoding", b"chunked"), *sent]
    target = path if query is None else path + b"?" + query
    request = head(
        *(name + b": " + value for name, value in sent), first=method + b" " + target + b" HTTP/1.1"
    )
    if any(len(name) > 255 for name, _ in sent):
        assert refused(wire, request, 16384, **FACTS) == "head_too_large"
        return
    read = encode(wire, request, 16384, **FACTS)
    expected = naive(request)
    expected.remote_addr = b"192.0.2.44"
    lower = [(name.lower(), value) for name, value in read.headers]
    assert lower == [(name.lower(), value) for name, value in expected.headers]
    assert read.attributes == expected.attributes
    read.headers = expected.headers
    assert read == expected


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_bent_heads_are_encoded_alike_built_and_plain(built: Wire, plain: Wire, seed: int) -> None:
    random = Random(seed)
    data = mutate(random, random.choice(corpus.GOOD_REQUESTS), corpus.GOOD_REQUESTS)
    made = []
    for wire in (built, plain):
        try:
            made.append(
                wire.ajp_encoder().forward_request(
                    wire.as_head(data), b"", wire.ajp_facts(**FACTS), 8192
                )
            )
        except wire.bad_head as error:
            made.append(str(error).encode())
    assert made[0] == made[1]
