from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.story.read import parse_story
from sana_stream.engine.story.story import IMAGE_MARK, Cue, Story, format_time
from sana_stream.errors import StoryError


def parse(text: str) -> Story:
    return parse_story(text.encode(), "story.txt")


def starts(story: Story) -> list[float | None]:
    return [cue.start_seconds for cue in story.cues]


def prompts(story: Story) -> list[str]:
    return [cue.prompt for cue in story.cues]


def test_parse_text_of_every_grammar_rule() -> None:
    story = parse(
        "# a fox\n"
        "A red fox runs through deep snow\n"
        "\n"
        "0:12  The fox stops and looks\n"
        "      its breath steams\n"
        "   # an indented comment does not count\n"
        "1:05.5 Night falls\n"
        "+8\tThe fox curls up\n"
        "90s \\0:30 is written on a clock\n"
        "1:02:03\n"
        "\tThe end\n"
    )
    assert story.cues == (
        Cue(0.0, "A red fox runs through deep snow"),
        Cue(12.0, "The fox stops and looks its breath steams"),
        Cue(65.5, "Night falls"),
        Cue(73.5, "The fox curls up"),
        Cue(90.0, "0:30 is written on a clock"),
        Cue(3723.0, "The end"),
    )


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        (r"\3:10 to Yuma", "3:10 to Yuma"),
        (r"\1980s Tokyo", "1980s Tokyo"),
        (r"\# is a sharp", "# is a sharp"),
        (r"\\ a backslash", r"\ a backslash"),
        ("3 foxes", "3 foxes"),
        ("4.5 m of snow", "4.5 m of snow"),
        ("- a dash", "- a dash"),
        ("Über der Stadt: 8 鳥", "Über der Stadt: 8 鳥"),
    ],
)
def test_text_that_is_not_a_time_is_prompt(line: str, prompt: str) -> None:
    assert parse(line).cues == (Cue(None, prompt),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:00 a\n0:20 b\n0:10 c", r"line 3: 0:10 does not come after 0:20: times must ascend"),
        ("0:00 a\n0:20 b\n\n0:20 c", r"line 4: 0:20 does not come after 0:20"),
        ("a\n0:20 b\nc", r'line 3: "c" has no time, but other prompts have one'),
        ("a\nb\n0:20 c", r'line 2: "b" has no time'),
        ("0:05 a", r"line 1: the first prompt starts at 0:05, and nothing comes before"),
        ("1980s Tokyo", r"line 1: the first prompt starts at 33:00.*\\ in front"),
        ("a\n-5 b", r"line 2: -5 is negative"),
        ("a\n-0:05 b", r"line 2: -0:05 is negative"),
        ("a\n0:75 b", r"line 2: 0:75 is not a time, the parts after the first end at 59"),
        ("a\n1:75:00 b", r"line 2: 1:75:00 is not a time"),
        ("a\n1:2:3:4 b", r"line 2: 1:2:3:4 is not a time: write 0:20"),
        ("a\n0:05,5 b", r"line 2: 0:05,5 is not a time"),
        ("a\n  0:20 b", r"line 2: an indented line .* begins with a time"),
        ("a\n@0:20 b", r"line 2: @0:20 b begins with a time of unknown form: write 0:20"),
        ("0:00 a\n[0:20][0:30] b", r"line 2: two times before one prompt"),
        ("Scene 1 (0:00-0:05) a\nScene 2 (0:05-0:10) b", r"line 1: every prompt has a time, but"),
        ("a\n+0 b", r"line 2: 0:00 does not come after 0:00"),
        ("a\n0:20\n0:30 c", r"line 2: an empty prompt"),
        ("  a\nb", r"line 1: an indented line continues the prompt before it"),
        ("# only a comment\n", r"holds no prompt"),
        (f"a\n{'9' * 400}s b", r"line 2: a prompt cannot start at inf"),
    ],
)
def test_invalid_text_raises_with_line_number(text: str, message: str) -> None:
    with pytest.raises(StoryError, match=f"^story.txt,? {message}") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


# Any printable text, also such that looks like a time, a comment or an escape; without the image
# mark, which hypothesis finds in the source.
_words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12).filter(
    lambda word: IMAGE_MARK not in word
)
_prompt = st.lists(_words, min_size=1, max_size=5).map(" ".join)
_millis = st.lists(st.integers(1, 20_000_000), max_size=8, unique=True).map(sorted)


@st.composite
def timed_stories(draw: st.DrawFn) -> Story:
    times = [0, *draw(_millis)]
    return Story(tuple(Cue(t / 1000, draw(_prompt)) for t in times))


@given(timed_stories())
def test_timed_story_round_trips(story: Story) -> None:
    lines = [f"{format_time(cue.start_seconds or 0)} \\{cue.prompt}" for cue in story.cues]
    assert parse("\n".join(lines)) == story


@given(st.lists(_prompt, min_size=1, max_size=8))
def test_untimed_story_round_trips(texts: list[str]) -> None:
    story = parse("\n".join(f"\\{text}" for text in texts))
    assert prompts(story) == texts
    assert starts(story) == [None] * len(texts)


@given(timed_stories(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_line_ends_and_byte_order_mark_are_ignored(story: Story, end: str, bom: bool) -> None:
    lines = [f"{format_time(cue.start_seconds or 0)} \\{cue.prompt}" for cue in story.cues]
    data = end.join(lines).encode("utf-8-sig" if bom else "utf-8")
    assert parse_story(data, "story.txt") == story


@given(timed_stories(), st.data())
def test_continuation_lines_join_with_one_space(story: Story, data: st.DataObject) -> None:
    lines = []
    for cue in story.cues:
        words = cue.prompt.split(" ")
        breaks = [
            data.draw(st.sampled_from([" ", "\n    \\", "\n\t\\", "\n\n  \\"])) for _ in words
        ]
        text = words[0] + "".join(b + w for b, w in zip(breaks, words[1:], strict=False))
        lines.append(f"{format_time(cue.start_seconds or 0)} \\{text}")
    assert parse("\n".join(lines)) == story


def story_or_line(data: bytes) -> Story | str:
    try:
        return parse_story(data, "story.txt")
    except StoryError as error:
        message = str(error)
    assert "\n" not in message
    return message


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_one_line(data: bytes) -> None:
    story = story_or_line(data)
    assert isinstance(story, str) or all(cue.prompt.strip() for cue in story.cues)


@given(st.text(st.sampled_from('0123456789:.+-s \t\n\\#[]{}"<>-WEBVTT'), max_size=60))
def test_any_text_parses_or_raises_one_line(text: str) -> None:
    story = story_or_line(text.encode())
    known = [] if isinstance(story, str) else [s for s in starts(story) if s is not None]
    assert known == sorted(set(known))
    assert not known or known[0] == 0


@given(st.integers(0, 10**8))
def test_format_time_round_trips_through_read_time(millis: int) -> None:
    assert re.fullmatch(r"(\d+:)?\d{1,2}:\d{2}(\.\d{1,3})?", format_time(millis / 1000))
    story = parse(f"a\n{format_time(millis / 1000)} b") if millis else parse("0:00 b")
    assert story.cues[-1].start_seconds == pytest.approx(millis / 1000, abs=1e-9)
