"""The captions of one run as the story of the next."""

from __future__ import annotations

from fractions import Fraction
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.engine.story.captions import parse_captions
from sana_stream.engine.story.story import IMAGE_MARK
from sana_stream.streaming.outputs.captions import CaptionFile, timestamp

CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="{}")
PROMPT = st.text(CHARACTERS, max_size=60).filter(
    lambda text: text.split() and IMAGE_MARK not in " ".join(text.split())
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PROMPT, min_size=1, max_size=6))
def test_any_prompts_come_back_with_their_times(prompts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.vtt"
        captions = CaptionFile(path)
        for second, prompt in enumerate(prompts):
            captions.show(prompt, Fraction(second), Fraction(second) + Fraction(1, 2))
            captions.show(prompt, Fraction(second) + Fraction(1, 2), Fraction(second + 1))
        captions.close()
        story = parse_captions(path.read_text(encoding="utf-8").split("\n"), "a.vtt")
    lines = [" ".join(prompt.split()) for prompt in prompts]
    starts = [next(run) for _, run in groupby(range(len(lines)), key=lines.__getitem__)]
    assert [cue.prompt for cue in story.cues] == [lines[start] for start in starts]
    assert [cue.start_seconds for cue in story.cues] == starts


def test_times_of_very_long_videos() -> None:
    assert timestamp(Fraction(0)) == "00:00:00.000"
    assert timestamp(Fraction(62, 16)) == "00:00:03.875"
    assert timestamp(Fraction(360_000)) == "100:00:00.000"
    assert timestamp(Fraction(59_9996, 10_000)) == "00:01:00.000"
