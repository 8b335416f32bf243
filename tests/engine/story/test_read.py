from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream._prompts import parse_mix
from sana_stream.engine.story.read import MAX_BYTES, parse_story, read_story
from sana_stream.engine.story.story import Cue, Story
from sana_stream.errors import StoryError

STORY = Story((Cue(0.0, "a red boat"), Cue(5.0, "the sun sets"), Cue(65.5, "night <3 & stars")))

TEXT = "a red boat\n0:05 the sun sets\n1:05.5 night <3 & stars\n"
VTT = """WEBVTT - made by hand
Kind: metadata

STYLE
::cue { color: red }

NOTE the beginning

00:00.000 --> 00:05.000 line:0 align:left
<v Ann>a <b>red</b>
boat</v>

second
00:00:05.000 --> 00:00:09.000
the sun sets

00:00:09.000 --> 00:01:00.000
the sun sets

00:01:05.500 --> 00:01:10.000
night &lt;3 &amp; stars
"""
SRT = """1
00:00:00,000 --> 00:00:05,000
a <i>red</i> boat

2
00:00:05,000 --> 00:00:10,000
{\\an8}the sun sets

3
00:01:05,500 --> 00:01:20,000
night <3 & stars
"""
BLENDS = """00:00:00,000 --> 00:00:04,000
a boat

00:00:04,000 --> 00:00:09,000
~2 night falls

00:00:09,000 --> 00:00:10,000
\\~3 dollars
"""
SCOPE = json.dumps(
    {
        "prompts": [
            {"startTime": 0, "endTime": 5, "prompts": [{"text": "a red boat", "weight": 100}]},
            {
                "startTime": 5,
                "endTime": 9,
                "prompts": [{"prompt": "the sun sets"}, {"text": "rain", "weight": 0}],
            },
            {"startTime": 65.5, "endTime": 99, "prompts": [{"text": "night <3 & stars"}]},
        ]
    },
    indent=1,
)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        *[(".txt", TEXT), (".vtt", VTT), (".srt", SRT), (".json", SCOPE)],
        *[("", TEXT), ("", VTT), ("", SRT), ("", SCOPE), (".txt", VTT), (".prompts", SCOPE)],
    ],
)
def test_read_story_of_every_timed_format_is_equal(
    tmp_path: Path, suffix: str, content: str
) -> None:
    file = tmp_path / f"story{suffix}"
    file.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    assert read_story(file) == STORY


FIRST, NEXT = "00:00.000 --> 00:05.000", "00:05.000 --> 00:09.000"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.txt", "a boat\n0:05 the sea <image> my pictures/sea.png\n"),
        (
            "s.vtt",
            f"WEBVTT\n\n{FIRST}\na <b>boat</b>\n\n{NEXT}\nthe sea<image>my pictures/sea.png\n",
        ),
        ("s.json", '{"0": "a boat", "80": "the sea<image>my pictures/sea.png"}'),
    ],
    ids=["text", "captions", "frames"],
)
def test_prompt_with_image_mark_sets_image(tmp_path: Path, name: str, content: str) -> None:
    """Its path is relative to the story's folder, and is not part of the prompt."""
    (tmp_path / name).write_text(content)
    cues = read_story(tmp_path / name).schedule(20, None, 16)
    assert [cue.prompt for cue in cues] == ["a boat", "the sea"]
    assert [cue.image for cue in cues] == [None, str(tmp_path / "my pictures/sea.png")]
    assert parse_story(content.encode(), name).cues[1].image == "my pictures/sea.png"


def test_image_mark_without_path_raises() -> None:
    with pytest.raises(StoryError, match=r"s\.txt, line 2: <image> names no image"):
        parse_story(b"a boat\nthe sea<image>\n", "s.txt")


@pytest.mark.parametrize("form", [json.dumps(["a", "b"]), json.dumps({"prompts": ["a", "b"]})])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x"])
def test_json_list_gives_prompts(form: str, name: str) -> None:
    assert parse_story(form.encode() + b"\n", name) == Story.of(["a", "b"])


def test_frame_map_keeps_frame_numbers() -> None:
    story = parse_story(b'{"48": "b", "0": "a", "100": "c"}', "deforum.json")
    expected = [(0, "a"), (48, "b"), (100, "c")]
    assert [(cue.start_frame, cue.prompt) for cue in story.cues] == expected


def _stamp(millis: int, comma: str) -> str:
    seconds, millis = divmod(millis, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{comma}{millis:03}"


def _vtt(cues: list[tuple[int, str]]) -> str:
    body = [f"{_stamp(t, '.')} --> {_stamp(t + 1, '.')}\n{escape(p, quote=False)}" for t, p in cues]
    return "\n\n".join(["WEBVTT", *body])


def _srt(cues: list[tuple[int, str]]) -> str:
    times = [f"{_stamp(t, ',')} --> {_stamp(t + 1, ',')}\n{p}" for t, p in cues]
    return "\n\n".join(f"{number}\n{time}" for number, time in enumerate(times, 1))


def _scope(cues: list[tuple[int, str]]) -> str:
    return json.dumps(
        {"prompts": [{"startTime": t / 1000, "prompts": [{"text": p}]} for t, p in cues]}
    )


_text = (
    st.text(st.sampled_from("abc dé鳥,.!?'"), min_size=1, max_size=20).map(str.split).map(" ".join)
)


@pytest.mark.parametrize(("suffix", "write"), [("vtt", _vtt), ("srt", _srt), ("json", _scope)])
@given(times=st.lists(st.integers(1, 10**8), max_size=6, unique=True), data=st.data())
def test_story_round_trips_through_formats(
    suffix: str,
    write: Callable[[list[tuple[int, str]]], str],
    times: list[int],
    data: st.DataObject,
) -> None:
    cues = [(t, f"{n} {data.draw(_text)}") for n, t in enumerate([0, *sorted(times)])]
    expected = [(t / 1000, " ".join(p.split())) for t, p in cues]
    story = parse_story(write(cues).encode(), f"x.{suffix}")
    assert [(cue.start_seconds, cue.prompt) for cue in story.cues] == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.vtt", "WEBVTT\n\nhello\n", r"x\.vtt, line 3: expected the times of a cue, got 'hello'"),
        ("x.vtt", "WEBVTT\n", r"x\.vtt holds no prompt"),
        ("x.vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\n", r"x\.vtt, line 3: an empty prompt"),
        ("x.srt", "1\n00:61:00,0 --> 00:62:00,0\na\n", r"x\.srt, line 2: expected the times"),
        ("x.json", '{"prompts": [', r"x\.json, line 1: not valid JSON"),
        ("x.json", "17", r"x\.json: JSON of an unknown format: give a list"),
        ("x.json", "[]", r"x\.json holds no prompt"),
        ("x.json", '["a", 3]', r"x\.json: JSON of an unknown format"),
        ("x.json", '{"0": "a", "later": "b"}', r"x\.json: 'later' is not a frame number"),
        ("x.json", '{"0": "a", "-4": "b"}', r"x\.json: a prompt cannot start at -4"),
        ("x.json", '{"5": "a"}', r"x\.json: the first prompt starts at frame 5"),
        ("x.jsonl", '{"prompts": ["a"]}\n{"prompts": ["b"]}\n', r"x\.jsonl holds 2 stories"),
        ("x.json", '{"prompts": [{"prompts": []}]}', r"x\.json, prompt 1: startTime must"),
        ("x.json", '{"prompts": [{"startTime": 0}]}', r"x\.json, prompt 1: prompts must be a list"),
        (
            "x.json",
            '{"prompts": [{"startTime": 0, "prompts": [{"text": "a | b"}, {"text": "b"}]}]}',
            r"x\.json, prompt 1: a \| in one of several prompts",
        ),
        (
            "x.json",
            '{"prompts": [{"startTime": 0, "prompts": [{"text": "a", "weight": -1}]}]}',
            r"x\.json, prompt 1: prompts must be a list",
        ),
        ("x.txt", "a\n~2s b", r"x\.txt, line 2: '~2s b' does not begin with a number of blocks"),
        ("x.txt", "a\n~2000 b", r"x\.txt, line 2: '~2000 b' does not begin with a number"),
        ("x.txt", "a\n~2", r"x\.txt, line 2: an empty prompt"),
        ("x.txt", "a\n~2 b<image>b.png", r"x\.txt, line 2: a cut to an image cannot be blended"),
        ("x.txt", "a\na :.7 | b :.4", r"x\.txt, line 2: the weights 0\.7 \+ 0\.4 add up to 1\.1"),
        ("x.json", '["a", "\\u001b[2J"]', r"x\.json: a prompt must not contain '.x1b'"),
        ("x.json", '["a \\ud800"]', r"x\.json: a prompt must not contain '.ud800'"),
        ("x.json", "[" * 100_000, r"x\.json: (nested too deeply|not valid)"),
    ],
)
def test_invalid_story_raises_one_line(name: str, content: str, message: str) -> None:
    with pytest.raises(StoryError, match=f"^{message}") as caught:
        parse_story(content.encode(), name)
    assert "\n" not in str(caught.value)


def test_prompts_at_weights_of_other_programs_are_mixed() -> None:
    timeline = {"prompts": [{"text": "a", "weight": 70}, {"text": "b", "weight": 30}]}
    story = parse_story(json.dumps([{"startTime": 0, **timeline}]), "x.json")
    assert parse_mix(story.cues[0].prompt) == (("a", 0.7), ("b", 0.3))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.txt", "0:00 a boat\n+4 ~2 night falls\n0:09 \\~3 dollars"),
        ("x.srt", BLENDS),
        ("x.json", '{"0:00": "a boat", "0:04": "~2 night falls", "0:09": "\\\\~3 dollars"}'),
        ("x.txt", "**[0:00]** a boat\n[0:04] ~2 night falls\n0:09\n  \\~3 dollars"),
    ],
)  # fmt: skip
def test_blends_are_read_in_every_format(name: str, content: str) -> None:
    cues = parse_story(content, name).cues
    assert [(cue.start_seconds, cue.prompt, cue.blend) for cue in cues] == [
        (0, "a boat", 0),
        (4, "night falls", 2),
        (9, "~3 dollars", 0),
    ]
    assert Story(cues).cues == cues  # as from a checkpoint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"a\nna\x81ve\n", r"line 2: byte 0x81 is not UTF-8: save it as UTF-8"),
        (
            "a caf\u00e9\n".encode() + b"na\xefve\n",
            r"line 2: byte 0xef is not UTF-8: save it as UTF-8",
        ),
        (b"\xff\xfea", "begins as UTF-16, but is not: save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: this is not text"),
        (b"\0\0\0\x18ftypmp42", "line 1: this is not text"),
        (b"a boat\n\x1b[31mred\n", "line 2: this is not text"),
        (b"a" * (MAX_BYTES + 1), "is larger than 1 MiB"),
    ],
)
def test_read_story_of_binary_data_raises(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "story.txt"
    file.write_bytes(data)
    with pytest.raises(StoryError, match=message) as caught:
        read_story(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_story_of_missing_file_or_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(StoryError, match=r"nowhere\.txt does not exist"):
        read_story(tmp_path / "nowhere.txt")
    with pytest.raises(StoryError, match="is a folder"):
        read_story(tmp_path)


def test_read_story_from_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "in").write_text(TEXT)
    with (tmp_path / "in").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert read_story("-") == STORY
