"""Arbitrary bytes as a story: parsed, or refused with one line, in bounded time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.story.read import MAX_BYTES, parse_story, read_story
from sana_stream.engine.story.story import MAX_PROMPTS
from sana_stream.errors import StoryError

VALID = {
    "s.srt": "1\n00:00:01,500 --> 00:00:04,000 X1:10\n<i>A</i> {\\an8}boat\n2\n0:0:9 -> 1:00\nb\n",
    "s.vtt": "WEBVTT\nKind: x\n\nNOTE a\n\nid\n00:00.000 --> 00:05.000 line:0\n<v A>a &lt; b\n",
    "s.txt": "# c\n[0:00] a --neg snow\n(0:05-0:10) b\n  more\n+8 e\n0:30 - f\n\\2:00 g\n48: x\n",
    "s.sbv": "0:00:00.000,0:00:02.000\na boat\n\n0:00:02.000,0:00:03.000\nb\n",
    "s.ass": "[Events]\nFormat: Start, End, Text\nDialogue: 0:00:01.00,0:00:02.00,a{\\b1}\\Nb\n",
    "s.json": json.dumps({"prompts": {"0": "a --neg x", "48": "b:`1-t`"}, "head_prompt": "p"}),
    "l.json": json.dumps([{"startTime": 0, "prompts": [{"text": "a", "weight": 1}]}]),
    "w.json": json.dumps(
        {"segments": [{"start": 0.0, "text": "a"}, {"start": "0:05", "text": "b"}]}
    ),
    "x": '"0" :"a",\n"48" :"b",\n',
}
HOSTILE = [
    *[
        "-->",
        "0:00",
        "9" * 5000,
        "1e999",
        "NaN",
        "\0",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "\u0664:\u0664",
    ],
    *["<image>", "--neg", "{", "}", "[", "]", "<", f"&#{'9' * 5000};", "&#x110000;", "\\", "\n\n"],
    *[
        "\r",
        "\ufeff",
        "WEBVTT",
        "max_f-1",
        '"',
        "null",
        '{"a":' * 50,
        "\x85",
        "\u00b2",
        ":",
        "h",
        ".",
    ],
]


def refusal(data: bytes | str, name: str) -> str | None:
    """Return the error message, or None for a valid story; both must be printable."""
    try:
        story = parse_story(data, name)
        story.schedule(None, None, 16.0)
    except StoryError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 600
        return message
    assert all(cue.prompt and cue.prompt == " ".join(cue.prompt.split()) for cue in story.cues)
    assert all(note.isprintable() for note in story.notes)
    return None


@given(st.binary(max_size=300), st.sampled_from([*VALID, "x.sub", "the story"]))
def test_any_bytes_parse_or_raise_one_line(data: bytes, name: str):
    refusal(data, name)


@given(st.text(max_size=300), st.sampled_from([*VALID, "x.sub", "the story"]))
def test_any_text_parses_or_raises_one_line(text: str, name: str):
    refusal(text, name)


@given(
    st.sampled_from(list(VALID.items())),
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 12), st.sampled_from(["", *HOSTILE])),
        max_size=6,
    ),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
)
def test_damaged_story_parses_or_raises_one_line(
    valid: tuple[str, str], changes: list[tuple[int, int, str]], code: str
):
    name, text = valid
    for place, gone, put in changes:
        text = text[:place] + put + text[place + gone :]
    refusal(text, name)
    refusal(text.encode(code, "surrogatepass"), name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = [
    "prompts",
    "prompt_map",
    "segments",
    "startTime",
    "start",
    "time",
    "frame",
    "prompt",
    "text",
]
KEYS += ["weight", "head_prompt", "n_prompt", "negative_prompt", "0", "48", "0:05", "max_f/2"]
FORMS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)


@given(FORMS)
def test_json_of_any_types_parses_or_raises_one_line(form: object):
    refusal(json.dumps(form), "x.json")


@pytest.mark.parametrize("number", ["9" * 300, "9" * 5000, "1e999", "-1e999", "NaN", "1e300"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("x.json", '[{{"startTime": 0, "text": "a"}}, {{"startTime": {}, "text": "b"}}]'),
        ("x.json", '[{{"frame": 0, "text": "a"}}, {{"frame": {}, "text": "b"}}]'),
        ("x.json", '{{"0": "a", "{}": "b"}}'),
        ("x.json", '{{"0:00": "a", "{}:00": "b"}}'),
        *[
            ("x.txt", "a\n" + form + " b")
            for form in ("{}s", "{}:00", "+{}", "[{}:00]", "{}:", "{}")
        ],
        *[("x.txt", "a\n" + form + " b") for form in ("0:00:00.{}", "0:{}", "0:00-{}:00", "({})")],
        ("x.srt", "00:00 --> 00:01\na\n\n{}:00:00,000 --> 00:01\nb\n"),
        ("x.srt", "00:00 --> 00:01\na\n\n{}\n00:00:00,{} --> {}:00:01\nb\n"),
        ("x.sbv", "0:00:00.000,0:00:01.000\na\n\n{}:00:01.000,0:00:02.000\nb\n"),
    ],
)
def test_number_of_any_size_parses_or_raises_one_line(name: str, form: str, number: str):
    refusal(form.replace("{}", number).replace("{{", "{").replace("}}", "}"), name)


MIB = MAX_BYTES - 100


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *[("x.txt", "1" * MIB), ("x.txt", "1:" * (MIB // 2)), ("x.txt", "[0:05" + " " * MIB + "x")],
        *[
            ("x.txt", "a\n" * (MIB // 2)),
            ("x.txt", "a\n  b\n" * (MIB // 6)),
            ("x.txt", " \n" * 9 + "a"),
        ],
        *[
            ("x.txt", "0:05" + "-" * MIB),
            ("x.txt", "0:05 to" + " " * MIB),
            ("x.txt", "a " * (MIB // 2)),
        ],
        *[
            ("x.txt", " --neg" * (MIB // 6)),
            ("x.txt", "a\n\n" * 10 + "#" * MIB),
            ("x.txt", "." * MIB),
        ],
        *[
            ("x.srt", "00:00" + " " * MIB),
            ("x.srt", "0" * MIB + "-->"),
            ("x.srt", "1\n" * (MIB // 2)),
        ],
        ("x.srt", "00:00-->00:01\na\n" * (MIB // 16)),
        ("x.srt", "00:00-->00:01\n" + "<a" * (MIB // 2)),
        ("x.srt", "00:00-->00:01\n" + "{\\" * (MIB // 2)),
        ("x.srt", "00:00-->00:01\n" + "&#9" * (MIB // 3)),
        ("x.vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\n" + "a\n\n" * (MIB // 3)),
        ("x.json", "[" * MIB),
        ("x.json", '["' + "\\" * MIB),
        ("x.json", "{" + '"0":"a",' * (MIB // 8)),
        ("x.json", json.dumps({str(n): "a" for n in range(60_000)})),
        ("x.ass", "[Events]\nDialogue: " + "," * MIB),
        ("x.ass", "[Events]\n" + "{" * MIB),
        # white space in a prompt, lines that are all indented, unclosed drawings
        ("x.txt", "a" + " " * MIB + "b"),
        ("x.json", '["a' + " " * MIB + 'b"]'),
        ("x.txt", " a\n" * (MIB // 3)),
        ("x.ass", "[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,0,0,0,,{" + "\\p1" * (MIB // 3)),
    ],
    ids=range(30),
)
def test_largest_story_parses_in_bounded_time(name: str, data: str):
    start = time.process_time()
    refusal(data.encode(), name)
    assert time.process_time() - start < 10


def test_story_beyond_size_limit_raises():
    with pytest.raises(StoryError, match=f"holds more than {MAX_PROMPTS} prompts"):
        parse_story("a\n" * (MAX_PROMPTS + 1), "x.txt")
    with pytest.raises(StoryError, match="a prompt of 10001 characters: at most 10000"):
        parse_story("a" * 10_001, "x.txt")


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("x.pdf", b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        ("x.docx", b"PK\x03\x04\x14\0", "a ZIP archive or an Office document"),
        ("x.gz", b"\x1f\x8b\x08\0", "a gzip file"),
        ("x.rtf", b"{\\rtf1\\ansi a}", "an RTF document"),
        ("x.png", b"\x89PNG\r\n\x1a\n\0", "a PNG picture"),
        ("x.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        ("x.mp4", b"\0\0\0\x18ftypmp42", "an MP4 video"),
        ("x.mkv", b"\x1aE\xdf\xa3\x01", "a Matroska"),
        ("x.webp", b"RIFF\0\0\0\0WEBPVP8 ", "a WEBP file"),
        ("x.sub", b"{0}{25}a boat\n{30}{40}b\n", "MicroDVD subtitles"),
        ("x.sub", b"a boat", "MicroDVD or VobSub subtitles"),
        ("x.txt", b"[0][25]a boat\n", "MPL2 subtitles"),
        ("x.lrc", b"[ar:Someone]\n[00:12.00]a\n", "LRC lyrics"),
        (
            "x.ttml",
            b'<?xml version="1.0"?>\n<tt xmlns="ttml">',
            "TTML captions",
        ),
        ("x.dfxp", b'<tt xml:lang="en">', "TTML captions"),
        (
            "x.fdx",
            b'<?xml version="1.0"?><FinalDraft Version="5">',
            "a Final Draft script",
        ),
        ("x.html", b"<!DOCTYPE html>\n<html>", "an HTML page"),
        ("x.smi", b"<SAMI>\n<HEAD>", "SAMI captions"),
        ("x.xml", b'<?xml version="1.0"?>\n<story/>', "XML"),
        ("x.yaml", b"prompts:\n  - a\n", "YAML"),
        ("x", b"---\nprompts:\n  - a\n", "YAML"),
        ("x.csv", b"0,a boat\n5,b\n", "a CSV table"),
        ("x.txt", b"start,prompt\n0,a boat\n", "a CSV table"),
        ("x.scc", b"Scenarist_SCC V1.0\n", "SCC captions"),
        ("x.txt", b";FFMETADATA1\n", "FFmpeg's metadata"),
        ("x.txt", b"CHAPTER01=00:00:00.000\n", "a list of OGM chapters"),
        ("x.fountain", b"INT. HOUSE - DAY\n", "a Fountain script"),
        ("x.json", b'{"0": "a", "0": "b"}', "the key '0' is given twice"),
        ("x.json", b'{"0": "a", "max_f-1": "b"}', "'max_f-1' is a formula of Deforum"),
    ],
)
def test_other_format_raises_and_is_named(name: str, data: bytes, problem: str):
    message = refusal(data, name)
    assert message is not None
    assert message.startswith(name)
    assert problem in message


def test_read_story_of_special_file_raises(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(StoryError, match="is not a regular file"):
            read_story(path)
    with pytest.raises(StoryError, match=r"a\\x00b cannot be read"):
        read_story("a\0b")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StoryError, match="is larger than 1 MiB"):
        read_story(tmp_path / "large")


READ = """
import sys
from sana_stream.engine.story.read import read_story
print(read_story(sys.argv[1]))
"""


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="this system has no /dev/fd")
@pytest.mark.parametrize("path", ["/dev/stdin", "-", "/dev/fd/0"])
@pytest.mark.parametrize("endless", [False, True])
def test_shell_pipe_is_read_up_to_the_limit(path: str, endless: bool):
    given = b"a\n" * MAX_BYTES if endless else b"0:00 a red boat\n"
    done = subprocess.run(
        [sys.executable, "-c", READ, path],
        input=given,
        capture_output=True,
        check=False,
        timeout=60,
    )
    output = (done.stdout + done.stderr).decode()
    assert ("is larger than 1 MiB" if endless else "a red boat") in output


def test_closed_standard_input_raises(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(StoryError, match="standard input is closed"):
        read_story("-")
