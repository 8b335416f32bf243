"""The parts of a video that its stream has left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sana_stream.errors import ConfigError
from sana_stream.streaming.run.rewinds import Rewinds

STEPS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), max_size=12)


@given(STEPS, st.data())
def test_way_back_is_that_of_a_video_with_numbered_frames(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """The oracle is the video itself: for each of its frames, the stream's frame that it shows."""
    rewinds, video, position = Rewinds(), list[int](), 0
    current = list[int]()  # where the stream's own frames are in the video
    for frames, back in steps:
        current += range(len(video), len(video) + frames)
        video += range(position, position + frames)
        gone = min(back, len(current))
        rewinds.add(len(video), gone)
        del current[len(current) - gone :]
        position = len(current)
    inside = {frame for begin, end in rewinds.left_out for frame in range(begin, end)}
    assert inside == set(range(len(video))) - set(current)
    if not video:
        return
    target = data.draw(st.integers(0, len(video) - 1))
    try:
        back = rewinds.frames_back(target, len(video))
    except ConfigError:
        assert target not in current
        return
    if target in current:
        assert position - back == video[target]
    else:  # the first frame of a part that was left: the stream returns to where it left
        assert target - 1 in current or position - back == video[target]
