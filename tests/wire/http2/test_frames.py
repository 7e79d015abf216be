"""Frames that we write are read by an independent reader."""

from __future__ import annotations

from typing import Any

import pytest
from hyperframe.frame import Frame, GoAwayFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.http2.frames import (
    HEAD_BYTES,
    MAX_FRAME_SIZE,
    MAX_STREAM,
    MAX_WINDOW,
    SETTINGS_ACK,
    ErrorCode,
    Flag,
    FrameType,
    SettingName,
    frame_head,
    goaway,
    headers,
    ping,
    rst_stream,
    settings,
    window_update,
)

streams = st.integers(1, MAX_STREAM)


def read(data: bytes) -> list[Any]:
    """Return the frames, as hyperframe reads them."""
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:HEAD_BYTES]))
        frame.parse_body(memoryview(data[HEAD_BYTES : HEAD_BYTES + length]))
        data = data[HEAD_BYTES + length :]
        frames.append(frame)
    return frames


@given(st.integers(0, MAX_FRAME_SIZE), streams, st.sampled_from([*FrameType][:10]))
def test_heads(length: int, stream: int, kind: FrameType) -> None:
    data = frame_head(length, kind, 0, stream)
    assert len(data) == HEAD_BYTES
    assert int.from_bytes(data[:3], "big") == length
    assert (data[3], data[4], int.from_bytes(data[5:], "big")) == (kind, 0, stream)


@given(st.dictionaries(st.sampled_from(SettingName), st.integers(0, (1 << 32) - 1)))
def test_settings(values: dict[SettingName, int]) -> None:
    (frame,) = read(settings(values))
    assert isinstance(frame, SettingsFrame)
    assert frame.settings == {int(name): value for name, value in values.items()}


def test_acknowledgements() -> None:
    for frame in read(SETTINGS_ACK + ping(b"12345678", ack=True)):
        assert "ACK" in frame.flags
    (frame,) = read(ping(b"12345678", ack=False))
    assert "ACK" not in frame.flags


@given(streams, st.sampled_from(ErrorCode))
def test_the_end_of_a_stream(stream: int, code: ErrorCode) -> None:
    (frame,) = read(rst_stream(stream, code))
    assert (frame.stream_id, frame.error_code) == (stream, code)


@given(st.integers(0, MAX_STREAM), st.sampled_from(ErrorCode), st.binary(max_size=50))
def test_the_end_of_a_connection(last: int, code: ErrorCode, why: bytes) -> None:
    (frame,) = read(goaway(last, code, why))
    assert isinstance(frame, GoAwayFrame)
    assert (frame.last_stream_id, frame.error_code, frame.additional_data) == (last, code, why)


@given(st.integers(0, MAX_STREAM), st.integers(1, MAX_WINDOW))
def test_windows(stream: int, increment: int) -> None:
    (frame,) = read(window_update(stream, increment))
    assert isinstance(frame, WindowUpdateFrame)
    assert (frame.stream_id, frame.window_increment) == (stream, increment)


@given(streams, st.binary(max_size=200), st.integers(1, 60), st.booleans())
def test_a_block_goes_into_as_many_frames_as_it_takes(
    stream: int, block: bytes, size: int, end: bool
) -> None:
    frames = read(headers(stream, block, size, end=end))
    assert b"".join(frame.data for frame in frames) == block
    assert [frame.type for frame in frames] == [
        FrameType.HEADERS,
        *[FrameType.CONTINUATION] * (len(frames) - 1),
    ]
    assert [("END_HEADERS" in frame.flags) for frame in frames] == [
        *[False] * (len(frames) - 1),
        True,
    ]
    assert ("END_STREAM" in frames[0].flags) == end
    assert all(len(frame.data) <= size for frame in frames)


@pytest.mark.parametrize("flag", Flag)
def test_a_flag_is_one_bit(flag: Flag) -> None:
    assert flag.bit_count() == 1
