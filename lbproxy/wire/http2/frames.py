"""Frames of HTTP/2: what they are called, and how those that we send are written.

Source: RFC 9113, sections 4, 6 and 7; RFC 8441 for SETTINGS_ENABLE_CONNECT_PROTOCOL; RFC 9218 for
PRIORITY_UPDATE.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from struct import Struct

# What a client says first.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
# Octets of a frame's payload and of a stream's window unless the ends agree on more.
DEFAULT_FRAME_SIZE = 16_384
DEFAULT_WINDOW = 65_535
MAX_FRAME_SIZE = (1 << 24) - 1
MAX_WINDOW = (1 << 31) - 1
MAX_STREAM = (1 << 31) - 1


class FrameType(IntEnum):
    """The type of a frame."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    PRIORITY_UPDATE = 16


class Flag(IntEnum):
    """A bit of a frame's flags: what it means depends on the type."""

    ACK = 0x1  # SETTINGS, PING
    END_STREAM = 0x1  # DATA, HEADERS
    END_HEADERS = 0x4  # HEADERS, CONTINUATION
    PADDED = 0x8  # DATA, HEADERS
    PRIORITY = 0x20  # HEADERS


class SettingName(IntEnum):
    """What one end lets the other one do."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


class ErrorCode(IntEnum):
    """Why a stream, or the connection, ends."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


_SETTING = Struct(">HI")
_TWO_WORDS = Struct(">II")
_WORD = Struct(">I")


def frame_head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Return the head of a frame. Args: length: of its payload, in octets; kind: as FrameType."""
    return b"%c%b%c%c%b" % (
        length >> 16,
        (length & 0xFFFF).to_bytes(2, "big"),
        kind,
        flags,
        stream.to_bytes(4, "big"),
    )


def settings(values: Mapping[SettingName, int]) -> bytes:
    """Return SETTINGS."""
    payload = b"".join(_SETTING.pack(name, value) for name, value in values.items())
    return frame_head(len(payload), FrameType.SETTINGS, 0, 0) + payload


SETTINGS_ACK = frame_head(0, FrameType.SETTINGS, Flag.ACK, 0)


def ping(data: bytes, *, ack: bool) -> bytes:
    """Return PING. Args: data: eight octets."""
    return frame_head(8, FrameType.PING, Flag.ACK if ack else 0, 0) + data


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """Return RST_STREAM."""
    return frame_head(4, FrameType.RST_STREAM, 0, stream) + _WORD.pack(code)


def goaway(last_stream: int, code: ErrorCode, why: bytes = b"") -> bytes:
    """Return GOAWAY. Args: last_stream: that was, or may still be, worked on; why: for a person."""
    payload = _TWO_WORDS.pack(last_stream, code) + why
    return frame_head(len(payload), FrameType.GOAWAY, 0, 0) + payload


def window_update(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE. Args: stream: 0 for the connection; increment: octets, at least 1."""
    return frame_head(4, FrameType.WINDOW_UPDATE, 0, stream) + _WORD.pack(increment)


def headers(stream: int, block: bytes, frame_size: int, *, end: bool) -> bytes:
    """Return HEADERS, and CONTINUATION as far as needed.

    Args: block: as HPACK packs it; frame_size: octets of a payload that the other end takes; end:
    nothing follows on the stream.
    """
    first = block[:frame_size]
    flags = (Flag.END_STREAM if end else 0) | (Flag.END_HEADERS if len(block) == len(first) else 0)
    parts = [frame_head(len(first), FrameType.HEADERS, flags, stream), first]
    for start in range(frame_size, len(block), frame_size):
        part = block[start : start + frame_size]
        last = start + frame_size >= len(block)
        flags = Flag.END_HEADERS if last else 0
        parts += (frame_head(len(part), FrameType.CONTINUATION, flags, stream), part)
    return b"".join(parts)
