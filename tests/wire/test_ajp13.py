"""AJP/1.3: fixed packets and data packets."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from lbproxy.wire import ajp13

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

FORM = b"grant_type=client_credentials"


def test_fixed_packets() -> None:
    packets = [ajp13.CPING, ajp13.CPONG, ajp13.EMPTY_PACKET]
    assert [packet.hex() for packet in packets] == ["123400010a", "4142000109", "12340000"]


def test_methods_have_the_codes_of_the_protocol() -> None:
    assert sorted(ajp13.METHODS.values()) == list(range(1, 28))
    known = {b"OPTIONS": 1, b"GET": 2, b"POST": 4, b"ACL": 15, b"SEARCH": 21, b"MKACTIVITY": 27}
    assert {name: ajp13.METHODS[name] for name in known} == known
    assert b"PATCH" not in ajp13.METHODS


def test_the_first_data_packet_of_a_form(wire: Wire) -> None:
    packet = wire.modules["ajp13"].data_packet(FORM, 0, len(FORM))
    assert len(packet) == 35
    assert sha256(packet).hexdigest()[:16] == "bfff6af88eead470"
    assert packet == bytes.fromhex("1234001f001d") + FORM


def test_data_packets_are_pieces_of_a_payload(wire: Wire) -> None:
    make = wire.modules["ajp13"].data_packet
    payload = bytes(range(256)) * 300
    packet = make(payload, 1000, 8186)
    assert packet == bytes.fromhex("12341ffc1ffa") + payload[1000 : 1000 + 8186]
    assert len(packet) == ajp13.DEFAULT_PACKET_SIZE
    assert make(payload, 0, 65530)[:6] == bytes.fromhex("1234fffcfffa")
    for at, size in ((0, 28), (1, 28), (5, 1)):
        assert make(FORM, at, size)[6:] == FORM[at : at + size]
    assert make(payload, len(payload) - 1, 1) == b"\x12\x34\x00\x03\x00\x01" + payload[-1:]


@pytest.mark.parametrize(
    ("position", "size"), [(0, 0), (0, -1), (-1, 2), (0, 30), (29, 1), (28, 2), (1, 65531)]
)
def test_there_is_no_such_piece(wire: Wire, position: int, size: int) -> None:
    """A piece of no bytes would end the body."""
    with pytest.raises(ValueError, match="data packet"):
        wire.modules["ajp13"].data_packet(FORM, position, size)
