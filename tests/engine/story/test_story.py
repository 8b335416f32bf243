from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.story.story import Cue, Story
from sana_stream.errors import StoryError

FPS = 16.0


@given(st.integers(1, 40), st.floats(0.5, 10_000))
def test_schedule_spaces_prompts_evenly(count: int, seconds: float) -> None:
    cues = Story.of(["p"] * count).schedule(seconds, None, FPS)
    begins = [cue.start_seconds or 0.0 for cue in cues] + [seconds]
    shares = [later - earlier for earlier, later in pairwise(begins)]
    assert begins[0] == 0
    assert shares == pytest.approx([seconds / count] * count)


@pytest.mark.parametrize(("every", "expected"), [(None, [0, 10, 20]), (2.5, [0, 2.5, 5])])
def test_schedule_of_endless_video_uses_fixed_spacing(
    every: float | None, expected: list[float]
) -> None:
    cues = Story.of("abc").schedule(None, every, FPS)
    assert [cue.start_seconds for cue in cues] == expected


def test_schedule_with_every_uses_given_spacing() -> None:
    cues = Story.of("abc").schedule(60, 5, FPS)
    assert [cue.start_seconds for cue in cues] == [0, 5, 10]


def test_schedule_keeps_given_times() -> None:
    cues = (Cue(0.0, "a"), Cue(7.5, "b"))
    assert Story(cues).schedule(8, None, FPS) == cues
    assert Story(cues).schedule(None, None, FPS) == cues


def test_schedule_converts_frames_to_seconds() -> None:
    story = Story((Cue(None, "a", start_frame=0), Cue(None, "b", start_frame=48)))
    assert story.schedule(10, None, 16) == (Cue(0.0, "a"), Cue(3.0, "b"))
    assert story.schedule(10, None, 24) == (Cue(0.0, "a"), Cue(2.0, "b"))


@pytest.mark.parametrize(
    ("story", "seconds", "every", "message"),
    [
        (
            Story((Cue(0.0, "a"), Cue(60.0, "night falls", line=7)), "s.txt"),
            60.0,
            None,
            r's\.txt, line 7: "night falls" would start at 1:00, but the video ends at 1:00',
        ),
        (
            Story((Cue(None, "a", start_frame=0), Cue(None, "b", start_frame=1600)), "s.json"),
            60.0,
            None,
            r's\.json: "b" would start at 1:40, but the video ends at 1:00',
        ),
        (Story.of("abc"), 9.0, 5.0, r'the prompts: "c" would start at 0:10'),
        (Story.of("abc"), 60.0, 0.0, r"0 s between prompts is not possible"),
        (Story.of("abc"), None, -3.0, r"-3 s between prompts is not possible"),
        (Story((Cue(0.0, "a"), Cue(5.0, "b")), "s.txt"), 60.0, 5.0, r"s\.txt has times already"),
    ],
)
def test_schedule_that_does_not_fit_raises(
    story: Story, seconds: float | None, every: float | None, message: str
) -> None:
    with pytest.raises(StoryError, match=f"^{message}"):
        story.schedule(seconds, every, FPS)


def test_story_without_prompts_raises() -> None:
    with pytest.raises(StoryError, match="holds no prompt"):
        Story.of([])
    with pytest.raises(StoryError, match="an empty prompt: describe"):
        Story.of(["a", "  "])


@pytest.mark.parametrize(
    ("cue", "message"),
    [
        (Cue(0.0, 5), "a prompt must be text, not 5"),  # pyright: ignore[reportArgumentType]
        (Cue(0.0, "a", image=5), "a prompt must be text, not 5"),  # pyright: ignore[reportArgumentType]
        (Cue("0", "a"), "a start must be a number, not 0"),  # pyright: ignore[reportArgumentType]
        (Cue(True, "a"), "a start must be a number, not True"),
        (Cue(None, "a", 1.5), "a start must be a number, not 1.5"),  # pyright: ignore[reportArgumentType]
        (Cue(float("nan"), "a"), "a prompt cannot start at nan"),
        (Cue(float("inf"), "a"), "a prompt cannot start at inf"),
        (Cue(4e7, "a"), r"a prompt cannot start at 4e\+07"),
        (Cue(None, "a", 10**400), r"a prompt cannot start at 1e\+300"),
        (Cue(0.0, "a\x9b"), "a prompt must not contain '.x9b'"),
        (Cue(0.0, "a", negative="b\0"), "a prompt must not contain '.x00'"),
    ],
)
def test_story_with_invalid_cue_raises(cue: Cue, message: str) -> None:
    with pytest.raises(StoryError, match=message):
        Story((cue,))


def test_story_mixing_times_and_frames_raises() -> None:
    with pytest.raises(StoryError, match='"b" starts at frame 48, other prompts at 0:00: give all'):
        Story((Cue(0.0, "a"), Cue(None, "b", 48)))
    assert Story((Cue(None, "a"), Cue(None, "b", 48))).cues[0].start_frame == 0
