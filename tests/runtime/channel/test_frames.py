"""Messages on a stream, however it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.runtime.channel.frames import Frames, frame

messages = st.lists(st.one_of(st.none(), st.integers(), st.binary(max_size=200), st.text()))


@given(messages, st.lists(st.integers(1, 64)))
def test_what_goes_in_comes_out(sent: list[object], cuts: list[int]) -> None:
    data = b"".join(map(frame, sent))
    frames = Frames()
    got: list[object] = []
    for size in cuts:
        got += frames.feed(data[:size])
        data = data[size:]
    got += frames.feed(data)
    assert got == sent
