"""Stories of chat programs and other tools: parsed, or refused with the format's name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.story.read import parse_story
from sana_stream.errors import StoryError

TimedPrompts = list[tuple[float | None, str]]

UNTIMED: TimedPrompts = [(None, "A red boat"), (None, "Snow falls")]
TIMED: TimedPrompts = [(0.0, "A red boat"), (10.0, "Snow falls")]


def read(text: str, name: str) -> TimedPrompts:
    return [(cue.start_seconds, cue.prompt) for cue in parse_story(text, name).cues]


@pytest.mark.parametrize(
    ("text", "expected", "note"),
    [
        ("1. A red boat\n2. Snow falls\n", UNTIMED, "marks of a list"),
        ("7) A red boat\n8) Snow falls\n", UNTIMED, "marks of a list"),
        ("- A red boat\n- Snow falls\n", UNTIMED, "marks of a list"),
        ("* **A red boat**\n* **Snow** falls\n", UNTIMED, "marks of a list"),
        ("Here you are:\n\n1. A red boat\n2. Snow falls\n", UNTIMED, "before the first prompt"),
        ("A red boat\n\n---\n\nSnow falls\n", UNTIMED, None),
        ("Chapters:\n0:00 A red boat\n0:10 Snow falls\n", TIMED, "before the first prompt"),
        ("---\n0:00 A red boat\n***\n0:10 Snow falls\n", TIMED, None),
        ("0:00 | 0:10 | A red boat\n0:10 | 0:20 | Snow falls\n", TIMED, None),
        ('0:00 "A red boat"\n0:10 "Snow falls"\n', TIMED, "marks of a list"),
        ("Sure:\n```\n0:00 A red boat\n0:10 Snow falls\n```\nEnjoy!\n", TIMED, "code block"),
        (("Sure:\n~~~json\n[{\"time\": [0, 10], \"text\": \"A red boat\"},\n"
         "{\"time\": \"0:10-0:20\", \"text\": \"Snow falls\"}]\n~~~\n"), TIMED, "code block"),
        ('{"time": 0, "text": "A red boat"}\n{"time": 10, "text": "Snow falls"}\n', TIMED, None),
        (('{"scenes": [{"start": "0:00", "prompt": "A red boat"},'
         '{"start": 10, "prompt": "Snow falls"}]}'), TIMED, None),
        (('{"chunks": [{"timestamp": [0, 10], "text": "A red boat"},'
         '{"timestamp": [10, null], "text": "Snow falls"}]}'), TIMED, None),
    ],
)  # fmt: skip
def test_markup_around_prompts_is_ignored(text: str, expected: TimedPrompts, note: str | None):
    assert read(text, "x.txt") == expected
    notes = parse_story(text, "x.txt").notes
    assert (note is None) == (not notes)
    assert note is None or any(note in found for found in notes)


def test_frames_with_quoted_prompts_parse():
    story = parse_story('0: "a red boat",\n48: "snow"\n', "x.txt")
    assert [(cue.start_frame, cue.prompt) for cue in story.cues] == [
        (0, "a red boat"),
        (48, "snow"),
    ]


def test_marks_within_text_are_kept():
    for text in ("- a dash", "1. a boat\n3. a bird", "\\- a\n\\- b", "a __ b\nc ** d", "2 * 3 * 4"):
        prompts = [prompt for _, prompt in read(text, "x.txt")]
        assert prompts == [line.removeprefix("\\") for line in text.split("\n")]


@given(st.lists(st.sampled_from(["a", "b c", "d, e"]), min_size=2, max_size=30), st.data())
def test_list_of_any_style_gives_its_prompts(prompts: list[str], data: st.DataObject):
    bullets = data.draw(st.sampled_from(["- {}", "* {}", "\u2022 {}", "{n}. {}", "{n}) {}"]))
    bold = data.draw(st.sampled_from(["{}", "**{}**", "__{}__"]))
    lines = [bullets.format(bold.format(text), n=n) for n, text in enumerate(prompts, 1)]
    assert read("\n".join(lines), "x") == [(None, text) for text in prompts]


@pytest.mark.parametrize(
    "line",
    [
        "Second {n}: {}", "{n} seconds - {}", "{n} - {m}: {}", "[{n}-{m}] {}", "{n}.0-{m}.0 {}",
        "{n},{}", "T+{n}: {}", "Time: {n}\nPrompt: {}", "Ann (0:{n:02d}):\n{}",
        "**1. Beginning (0:{n:02d} - 0:{m:02d})**\n{}", "{} [5s]", "{} (10 seconds)",
        "1 00:00:{n:02d}:00 00:00:{m:02d}:00 {}", "From 0:{n:02d} to 0:{m:02d}: {}",
    ],
)  # fmt: skip
def test_times_of_unknown_form_raise(line: str):
    text = "\n".join(
        line.format(prompt, n=10 * n, m=10 * n + 10)
        for n, prompt in enumerate(["A red boat", "Snow falls", "Fog"])
    )
    with pytest.raises(StoryError, match=r"^x\.txt, line 1: .* (?:time|0:20)"):
        parse_story(text, "x.txt")


@pytest.mark.parametrize(
    ("text", "format_name"),
    [
        ("| Time | Prompt |\n|---|:---:|\n| 0:00 | A red boat |\n", "a table of Markdown"),
        ("Prompt,Start\na red boat,0\n", "a CSV table"),
        ("#\tName\tStart time\tFrame\n1\ta\t0\t0\n", "a CSV table"),
        ("- time: 0\n  prompt: a red boat\n", "YAML"),
        ("title: x\nprompts:\n  - a red boat\n", "YAML"),
        ("[[scene]]\ntime = 0\n", "TOML"),
        ("[scene]\ntime = 0\n", "a configuration"),
        ("prompts = {0: 'a red boat'}\n", "a program or a configuration"),
        ("TITLE: x\nFCM: NON-DROP FRAME\n\n001 AX V C 00:00:00:00 00:00:05:00\n", "(EDL)"),
        ("[00:00.00]A red boat\n[00:10.00]Snow\n", "LRC lyrics"),
        ("<transcript><text start='0'>a red boat</text></transcript>", "HTML or XML"),
        ("<p>A red boat</p>\n<p>Snow</p>\n", "HTML or XML"),
        ("<!-- by hand -->\n<html>\n", "HTML or XML"),
        ('<window type="generic"/>\n<time begin="0"/>A red boat', "HTML or XML"),
        ('{"keyframes": [{"frame": 0}], "prompts": {}}', "Parseq"),
        ('{"nodes": [], "links": []}', "ComfyUI"),
        ('{"3": {"class_type": "KSampler", "inputs": {}}}', "ComfyUI"),
        ('{"wireMagic": "pb3", "events": [{"tStartMs": 0}]}', "YouTube"),
    ],
)
def test_other_format_raises_with_its_name(text: str, format_name: str):
    with pytest.raises(StoryError, match=r"^x\.txt is ") as caught:
        parse_story(text, "x.txt")
    assert format_name in str(caught.value)


@pytest.mark.parametrize(
    "text", ["night time, street scene, rain", "the <b> key", "a=b, a boat", "scene: a boat\nb"]
)
def test_prompt_resembling_other_format_is_accepted(text: str):
    assert [prompt for _, prompt in read(text, "x.txt")] == text.split("\n")


def test_line_of_spaces_does_not_end_a_cue():
    text = (
        "WEBVTT\nKind: captions\n\n00:00:00.000 --> 00:00:02.310 align:start position:0%\n \n"
        "a<00:00:00.400><c> red</c><00:00:00.800><c> boat</c>\n\n"
        "00:00:02.310 --> 00:00:02.320 align:start position:0%\na red boat\n \n"
    )
    assert read(text, "x.vtt") == [(0.0, "a red boat")]
    assert not parse_story(text, "x.vtt").notes


def test_drawings_and_ruby_text_are_removed():
    events = (
        "[Events]\nDialogue: 0,0:00:00.00,0:00:02.00,D,,0,0,0,,a boat\n"
        "Dialogue: 0,0:00:02.00,0:00:03.00,D,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}\n"
        "Dialogue: 0,0:00:03.00,0:00:04.00,D,,0,0,0,,{\\an8\\p1}m 0 0{\\p0}snow\n"
    )
    assert read(events, "x.ass") == [(0.0, "a boat"), (3.0, "snow")]
    ruby = "WEBVTT\n\n00:00.000 --> 00:01.000\n<ruby>kan<rt>ji</rt></ruby>\n"
    assert read(ruby, "x.vtt") == [(0.0, "kan")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\n\n"])
def test_line_ends_of_any_kind_parse(end: str):
    cues = "1\n00:00:00,000 --> 00:00:02,000\nA red boat\n\n2\n00:00:10,000 --> 00:00:12,000\n42\n"
    assert read(cues.replace("\n", end), "x.srt") == [(0.0, "A red boat"), (10.0, "42")]


def test_invalid_cue_times_raise_with_line_number():
    with pytest.raises(StoryError, match=r"line 2: expected the times of a cue, got '00:00:00:00"):
        parse_story("1\n00:00:00:00 --> 00:00:04:12\nA red boat\n", "x.srt")


def test_invalid_json_line_raises():
    with pytest.raises(StoryError, match="not valid JSON"):
        parse_story(json.dumps({"text": "a"}) + "\n{oops\n", "x.jsonl")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("(a red boat:1.2), (snow: .5)", "a red boat, snow"),
        ("a red boat <lora:style_v1:0.8>", "a red boat"),
        ("a red boat --ar 16:9 --style raw --v 6", "a red boat"),
    ],
)
def test_weights_and_settings_of_other_programs_are_removed(prompt: str, expected: str):
    for text in (prompt, json.dumps({"0": prompt})):
        story = parse_story(text, "x")
        assert [cue.prompt for cue in story.cues] == [expected]
        assert any("weights and settings of other programs" in note for note in story.notes)
    story = parse_story("a red boat --ar 16:9 --no people, fog", "x")
    assert [(cue.prompt, cue.negative) for cue in story.cues] == [("a red boat", "people, fog")]


@pytest.mark.parametrize(
    "prompt", ["a clock (it shows 5:30)", "a boat -- s", "(snow: white)", "a :)"]
)
def test_text_resembling_a_setting_is_kept(prompt: str):
    assert read(prompt, "x") == [(None, prompt)]


def test_timeline_from_one_hour_is_shifted_to_zero():
    srt = "1\n01:00:00,500 --> 01:00:04,000\na\n\n2\n01:00:05,250 --> 01:00:08,000\nb\n"
    assert read(srt, "x.srt") == [(0.0, "a"), (5.25, "b")]
    assert any("1:00:00, which is used as 0:00" in n for n in parse_story(srt, "x.srt").notes)
