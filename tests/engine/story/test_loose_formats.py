"""Lenient parsing of stories of players and other tools, and notes about what is ignored."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.story.read import parse_story
from sana_stream.engine.story.story import Story
from sana_stream.streaming.outputs.captions import CaptionFile

TimedPrompts = list[tuple[float | None, str]]


def read(text: str | bytes, name: str) -> TimedPrompts:
    return cues_of(parse_story(text, name))


def cues_of(story: Story) -> TimedPrompts:
    return [(cue.start_seconds, cue.prompt) for cue in story.cues]


# words without a meaning in any format
_words = st.lists(
    st.text(st.sampled_from("abcdéßЖ鳥xyz,.!?'"), min_size=1, max_size=8).filter(
        lambda word: any(c.isalpha() for c in word) and not word.startswith((",", "."))
    ),
    min_size=1,
    max_size=4,
).map(" ".join)


@st.composite
def stories(draw: st.DrawFn, every: int = 1) -> list[tuple[int, str]]:
    """Draw starts in milliseconds, the first 0, and prompts that differ from their neighbours."""
    starts = draw(st.lists(st.integers(1, 36_000_000 // every), max_size=6, unique=True))
    times = [0, *(every * start for start in sorted(starts))]
    return [(time, f"p{n} {draw(_words)}") for n, time in enumerate(times)]


def stamp(data: st.DataObject, millis: int, point: str) -> str:
    """Format a time as programs write it."""
    seconds, rest = divmod(millis, 1000)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    draw = data.draw
    width = draw(st.integers(1, 3))
    fraction = f"{point}{rest:03d}" if rest or draw(st.booleans()) else ""
    clock = f"{minutes:02d}:{seconds:02d}{fraction}"
    return clock if not hours and draw(st.booleans()) else f"{hours:0{width}d}:{clock}"


SRT_TAGS = [("", ""), ("<i>", "</i>"), ('<font color="#ff0000">', "</font>"), ("{\\an8}", "")]


@given(st.data(), stories())
def test_lenient_srt_parses_as_in_players(data: st.DataObject, story: list[tuple[int, str]]):
    draw = data.draw
    numbers, blank = draw(st.booleans()), draw(st.booleans())
    point, arrow = (
        draw(st.sampled_from([",", "."])),
        draw(st.sampled_from([" --> ", "-->", " -> "])),
    )
    cues = []
    for number, (start, prompt) in enumerate(story, draw(st.integers(0, 3))):
        before, after = draw(st.sampled_from(SRT_TAGS))
        place = draw(st.sampled_from(["", "  X1:100 X2:200 Y1:10 Y2:20"]))
        end = stamp(data, start + draw(st.sampled_from([0, 5, 9_999_999])), point)
        text = before + prompt.replace(" ", draw(st.sampled_from([" ", "\n"])), 1) + after
        head = f"{number}\n" if numbers else ""
        cues.append(f"{head}{stamp(data, start, point)}{arrow}{end}{place}\n{text}\n")
    content = ("\n" if blank else "").join(cues).removesuffix(draw(st.sampled_from(["", "\n"])))
    if draw(st.booleans()) and blank and numbers:  # any order
        content = "\n".join(f"{cue.rstrip()}\n" for cue in draw(st.permutations(cues)))
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    code = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    found = read(
        content.replace("\n", line_end).encode(code), draw(st.sampled_from(["x.srt", "x"]))
    )
    assert found == [(start / 1000, prompt) for start, prompt in story]


@given(st.data(), stories())
def test_complete_webvtt_parses(data: st.DataObject, story: list[tuple[int, str]]):
    draw = data.draw
    blocks = ["WEBVTT" + draw(st.sampled_from(["", " - a film", "\nKind: captions\nLanguage: en"]))]
    between = ["", "NOTE\nof many\nlines", "STYLE\n::cue { color: red }", "REGION\nid:fred"]
    for start, prompt in story:
        if note := draw(st.sampled_from(between)):
            blocks.append(note)
        name = draw(st.sampled_from(["", "7\n", "the first - of all\n"]))
        settings = draw(st.sampled_from(["", " line:0 align:left", " position:10%,line-left"]))
        text = prompt.replace(
            " ", draw(st.sampled_from([" ", "\n", " <00:00:01.000>", "&nbsp;"])), 1
        )
        text = draw(st.sampled_from(["{}", "<v Ann>{}</v>", "<c.loud.red>{}</c>"])).format(text)
        end = stamp(data, start + 1, ".")
        blocks.append(f"{name}{stamp(data, start, '.')} --> {end}{settings}\n{text}")
    content = "\n\n".join(blocks)
    assert read(content, draw(st.sampled_from(["x.vtt", "x"]))) == [(t / 1000, p) for t, p in story]


def written(data: st.DataObject, millis: int, after: str) -> str:
    """Format the beginning of a line: a time in one of its forms."""
    clock = f"{millis // 60_000}:{millis // 1000 % 60:02d}" + f".{millis % 1000:03d}".rstrip("0.")
    long = f"{millis // 3_600_000:02d}:{millis // 60_000 % 60:02d}:{millis // 1000 % 60:02d}"
    long += f".{millis % 1000:03d}".rstrip("0.")
    later = f"{(millis + 9000) // 60_000}:{(millis + 9000) // 1000 % 60:02d}"
    forms = [
        *[clock, long, f"{millis / 1000:g}s", f"[{clock}]", f"({long})", f"[{clock} - {later}]"],
        *[f"{clock}-{later}", f"{clock} \u2013 {later}", f"({clock}-{later})", f"**{clock}**"],
        *[f"{clock} -", f"{clock} |", f"{clock}:", f"[{long} --> {later}]", f"- {clock}"],
        *[f"1. [{clock}]", f"**[{clock}]:**", f"{millis / 1000:.1f}-{millis / 1000 + 5:g}s:"],
        *[f"[{millis / 1000:.1f} sec]", f"({millis / 1000:.1f}s - {millis / 1000 + 5:g} seconds)"],
    ]
    return f"{data.draw(st.sampled_from(forms))}{after}"


@given(st.data(), stories(every=100))
def test_text_times_in_every_form_parse(data: st.DataObject, story: list[tuple[int, str]]):
    draw = data.draw
    after = draw(st.sampled_from([" ", "\t", "\n"]))
    lines = [f"{written(data, start, after)}{prompt}" for start, prompt in story]
    indent = draw(st.sampled_from(["", "  "]))
    content = "\n".join([*draw(st.sampled_from([[], ["# a comment", ""]])), *lines])
    content = "\n".join(indent + line for line in content.split("\n"))
    content = draw(st.sampled_from(["{}", "```\n{}\n```\n", "```text\n{}\n```"])).format(content)
    assert read(content, "x.txt") == [(start / 1000, prompt) for start, prompt in story]


@given(st.data(), stories())
def test_json_of_other_tools_parses(data: st.DataObject, story: list[tuple[int, str]]):
    draw = data.draw
    frames = {str(start): prompt for start, prompt in story}
    shuffled = dict(draw(st.permutations(list(frames.items()))))
    forms = [
        shuffled,
        {"prompts": shuffled, "seed": 7},
        {"prompt_map": shuffled, "head_prompt": "", "n_prompt": [""], "steps": 20},
    ]
    inside = "".join(f'"{key}" :"{value}",\n' for key, value in frames.items())
    content = draw(st.sampled_from([*(json.dumps(form) for form in forms), inside]))
    cues = parse_story(content, draw(st.sampled_from(["x.json", "x.txt"]))).cues
    assert [(cue.start_frame, cue.prompt) for cue in cues] == story


@given(stories())
def test_timed_objects_and_other_captions_parse(story: list[tuple[int, str]]):
    expected = [(start / 1000, prompt) for start, prompt in story]
    objects = [{"start": start / 1000, "end": 9, "text": prompt} for start, prompt in story]
    assert read(json.dumps({"text": "all", "segments": objects}), "whisper.json") == expected

    def stamp(millis: int, digits: int) -> str:
        minutes, seconds = divmod(millis // 1000, 60)
        rest = f"{millis % 1000:03d}"[:digits]
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}.{rest}"

    sbv = "\n\n".join(f"{stamp(t, 3)},{stamp(t + 9, 3)}\n{p}" for t, p in story)
    assert read(sbv, "x.sbv") == read(sbv, "x") == expected
    ass = "\n".join(
        f"Dialogue: 0,{stamp(t, 3)},{stamp(t + 9, 3)},Default,,0,0,0,,{{\\an8}}{p}"
        for t, p in story
    )
    assert read(f"[Script Info]\nTitle: a\n\n[Events]\n{ass}\n", "x.ass") == expected


# every character that is allowed in a prompt
_prompt = (
    st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=30)
    .map(lambda text: " ".join(text.split()))
    .filter(lambda text: text and "<image>" not in text and "--" not in text)
)


@given(st.lists(_prompt, min_size=1, max_size=5), st.integers(1, 90_000))
def test_written_captions_round_trip(
    tmp_path_factory: pytest.TempPathFactory, prompts: list[str], step: int
):
    path = tmp_path_factory.mktemp("captions") / "film.vtt"
    file, seconds = CaptionFile(path), Fraction(step, 1000)
    for number, prompt in enumerate(prompts):
        file.show(prompt, number * seconds, (number + 1) * seconds)
    file.close()
    expected: TimedPrompts = []
    for number, prompt in enumerate(prompts):
        if not expected or expected[-1][1] != prompt:
            expected.append((number * step / 1000, prompt))
    story = parse_story(path.read_bytes(), str(path))
    assert cues_of(story) == expected
    assert not story.notes


@pytest.mark.parametrize(
    ("name", "content", "expected", "notes"),
    [
        (
            "x.srt",
            "1\n00:00:01,5 --> 00:00:04\na\n2\n00:00:06,000 --> 00:00:05,000\nb\n",
            [(0, "a"), (6, "b")],
            ["first cue starts at 0:01.5 and is moved to 0:00"],
        ),
        (
            "x.srt",
            "1\n-00:00:09,000 --> -00:00:08,000\na\n\n2\n-00:00:01,000 --> 00:00:02,000\nb\n",
            [(0, "b")],
            ["line 2: cues that end before 0:00 are ignored"],
        ),
        (
            "x.srt",
            "1\n00:00:00,000 --> 00:00:01,000\n\n2\n00:00:00,000 --> 00:00:02,000\na\n",
            [(0, "a")],
            ["line 2: cues without text are ignored"],
        ),
        (
            "x.srt",
            "00:00:00 --> 00:00:02\n2024\n\n00:00:02 --> 00:00:03\nb\nc\n\nd\n",
            [(0, "2024"), (2, "b c d")],
            [],
        ),
        (
            "x.srt",
            "1\n00:00:00,000 --> 00:00:02,000\na\n\n2\n00:00:00,000 --> 00:00:02,000\nb\n",
            [(0, "a b")],
            ["line 6: cues that start together are joined"],
        ),
        (
            "x.srt",
            "2\n00:00:05,000 --> 00:00:06,000\nb\n\n1\n00:00:00,000 --> 00:00:02,000\na\n",
            [(0, "a"), (5, "b")],
            ["not in the order of their times, and are sorted"],
        ),
        (
            "x.vtt",
            "WEBVTT\n\n00:00.000 --> 00:01.000\na\n\nlost text\n\n00:02.000 --> 00:03.000\nb\n",
            [(0, "a"), (2, "b")],
            ["line 6: text that belongs to no cue is ignored"],
        ),
        (
            "x.srt",
            "00:00:00:000 --> 00:00:02:500\n5 < 6 > 2 &amp; &x\n",
            [(0, "5 < 6 > 2 & &x")],
            [],
        ),
        (
            "x.txt",
            "a\nScene 2 (0:05-0:10) b\n",
            [(None, "a"), (None, "Scene 2 (0:05-0:10) b")],
            ["line 2: a time inside a prompt is read as text"],
        ),
        (
            "x.txt",
            b"caf\xe9\n",
            [(None, "caf\u00e9")],
            ["line 1: byte 0xe9 is not UTF-8: the file was"],
        ),
        ("x.txt", "a boat".encode("utf-16-le"), [(None, "a boat")], []),
        ("x.txt", "[Scene 1] a boat\n", [(None, "[Scene 1] a boat")], []),
        (
            "x.json",
            '{"prompts": {"0": "a:`sin(t)` boat"}, "W": 5}',
            None,
            ["only the prompts are read, not W", "weights given by a formula"],
        ),
    ],
)
def test_ignored_content_is_noted(
    name: str, content: str | bytes, expected: TimedPrompts | None, notes: list[str]
):
    story = parse_story(content, name)
    if expected is not None:
        assert cues_of(story) == expected
    assert len(story.notes) == len(notes)
    for note, wanted in zip(story.notes, notes, strict=True):
        assert wanted in note
        assert note.startswith(name)


@pytest.mark.parametrize(
    ("name", "content", "prompts"),
    [
        ("x.json", '{"0": "a --neg snow, rain", "48": "b"}', [("a", "snow, rain"), ("b", None)]),
        ("x.json", '{"0": "a --negative snow --neg rain"}', [("a", "snow rain")]),
        (
            "x.txt",
            "a --neg snow\nb --no rain\nc--no",
            [("a", "snow"), ("b", "rain"), ("c--no", None)],
        ),
        (
            "x.txt",
            "a boat\nNegative prompt: snow,\n  old\nSteps: 20, Sampler: Euler a",
            [("a boat old", "snow,")],
        ),
        ("x.srt", "00:00 --> 00:01\na --neg snow\n", [("a", "snow")]),
        (
            "x.json",
            json.dumps(
                {
                    "prompts": {"0": "a", "9": "b --neg x"},
                    "positive_prompts": "fine,",
                    "negative_prompts": "ugly",
                }
            ),
            [("fine, a", "ugly"), ("fine, b", "x")],
        ),
        (
            "x.json",
            '{"prompt_map": {"0": "a"}, "head_prompt": "h", "tail_prompt": "t", "n_prompt": ["n"]}',
            [("h, a, t", "n")],
        ),
    ],
)
def test_negative_prompt_is_split_from_prompt(
    name: str, content: str, prompts: list[tuple[str, str | None]]
):
    assert [(cue.prompt, cue.negative) for cue in parse_story(content, name).cues] == prompts


def test_times_at_line_ends_parse():
    assert read("A boat 0:00\nThe sea - 0:05\nNight (1:05:00)\n", "x") == [
        (0, "A boat"),
        (5, "The sea"),
        (3900, "Night"),
    ]


def test_image_before_negative_prompt_parses(tmp_path: Path):
    cue = parse_story("a<image>b c.png --neg rain", "x.txt").cues[0]
    assert (cue.prompt, cue.image, cue.negative) == ("a", "b c.png", "rain")
