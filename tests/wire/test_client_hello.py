"""The name in a ClientHello, as OpenSSL's own client writes it, cut and split in every way."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.client_hello import MAX_HELLO, ClientHello


def hello(name: str | None, **settings: ssl.TLSVersion) -> bytes:
    """Return what a client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for key, value in settings.items():
        setattr(context, key, value)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def server_name(*pieces: bytes) -> bytes | None:
    """Return the name in what comes in these pieces."""
    reader = ClientHello()
    found = None
    for piece in pieces:
        found = reader.feed(piece)
        if found is not None:
            break
    return found


def records(message: bytes, size: int) -> bytes:
    """Return a handshake message in records of so many bytes."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(p).to_bytes(2, "big") + p for p in pieces)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("name", "expected"), [("idp.example", b"idp.example"), ("IdP.example", None), (None, b"")]
)
def test_the_name_is_found(
    version: ssl.TLSVersion, name: str | None, expected: bytes | None
) -> None:
    data = hello(name, maximum_version=version)
    assert name is not None or expected == b""
    assert server_name(data).lower() == (name or "").lower().encode()  # type: ignore[union-attr]
    assert server_name(data + b"\x14\x03\x03\x00\x01\x01") == server_name(data)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 100, 1 << 14])
def test_in_whatever_pieces_it_comes(size: int) -> None:
    data = records(hello("idp.example")[5:], size)
    assert server_name(data) == b"idp.example"
    reader = ClientHello()
    for at in range(len(data) - 1):
        assert reader.feed(data[at : at + 1]) is None, at
    assert reader.feed(data[-1:]) == b"idp.example"
    for end in range(0, len(data), 1 + len(data) // 600):
        assert server_name(data[:end], data[end:]) == b"idp.example", end


def test_each_byte_is_looked_at_once() -> None:
    """However it comes: what was heard already is not asked for again."""
    taken = 0

    class Counted(bytes):
        """A piece that counts what is taken of it."""

        def __getitem__(self, key: Any) -> Any:
            nonlocal taken
            taken += 1
            return super().__getitem__(key)

    data = records(hello("idp.example")[5:], 1)
    pieces = [Counted(data[at : at + 1]) for at in range(len(data))]
    assert server_name(*pieces) == b"idp.example"
    assert taken <= 2 * len(pieces)
    reader = ClientHello()
    assert reader.feed(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc") is None
    assert reader.feed(b"x" * 16_000) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x15",
        b"\x16\x03\x01\x00\x05\x02",  # a ServerHello
        b"\x16\x03\x01\x00\x00",  # a record of nothing
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",  # a ClientHello of one byte
        b"\x16\x03\x01\x00\x04\x01" + (MAX_HELLO + 1).to_bytes(3, "big"),
        b"\x16\x03\x01\x00\x01\x01" * 40_000,
    ],
)
def test_what_is_none_names_nobody(data: bytes) -> None:
    assert server_name(data) == b""


@given(
    data=st.binary(max_size=400),
    at=st.integers(0, 600),
    start=st.sampled_from([b"", hello("idp.example"), hello(None)]),
)
def test_whatever_comes_it_never_raises(data: bytes, at: int, start: bytes) -> None:
    whole = start[:at] + data + start[at:]
    found = server_name(whole)
    assert found is None or isinstance(found, bytes)
    for size in (1, 7, 100):
        assert server_name(*(whole[i : i + size] for i in range(0, len(whole), size))) == found
