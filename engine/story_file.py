"""Reading a story from a file or from standard input, whatever form it is written in."""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePath
from typing import BinaryIO

from .story import Story, StoryError
from .story_captions import looks_like_captions, parse_captions
from .story_json import looks_like_json, parse_json
from .story_text import parse_text

MAX_BYTES = 1 << 20  # far above any story; a video given by mistake is refused at once
_CAPTIONS = (".vtt", ".srt")
_JSON = (".json", ".jsonl")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def read_story(path: str | Path) -> Story:
    """The story in a file (`-`: standard input), in the form its name or its content tells.

    Forms: plain text, WebVTT, SRT, and the JSON forms of `story_json`. UTF-8, with or without a
    byte order mark, with any line ends. Pictures are looked for in the file's own folder.

    Raises `StoryError` for a file that is missing, not readable, empty, not UTF-8 or no text, and
    for everything that the form does not allow, with the line.
    """
    if str(path) == "-":
        if sys.stdin is None:
            raise StoryError("standard input is closed: give the path of a prompt file")
        return parse_story(_read(sys.stdin.buffer, "standard input"), "standard input")
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = _read(file, str(path))
    except FileNotFoundError:
        raise StoryError(f"{path} does not exist: give the path of a prompt file") from None
    except IsADirectoryError:
        raise StoryError(f"{path} is a folder: give the path of a prompt file") from None
    except OSError as error:
        raise StoryError(f"{path} cannot be read: {error.strerror or error}") from None
    return parse_story(data, str(path)).beside(path.parent)


def parse_story(data: bytes, name: str) -> Story:
    """The story in the bytes of a file called `name`; raises as `read_story` does."""
    text = _decode(data, name)
    lines = text.split("\n")
    suffix = PurePath(name).suffix.lower()
    if suffix in _CAPTIONS or (suffix not in _JSON and looks_like_captions(lines)):
        return parse_captions(lines, name)
    if suffix in _JSON or looks_like_json(lines):
        return parse_json(text, name)
    return parse_text(lines, name)


def _read(file: BinaryIO, name: str) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise StoryError(f"{name} is larger than 1 MiB: a prompt file is text, one prompt a line")
    return data


def _decode(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise StoryError(f"{name} is UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if b"\0" in data:
            raise StoryError(_not_text(name, line)) from None
        raise StoryError(
            f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8: save it as UTF-8"
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if match := _CONTROL.search(text):
        raise StoryError(_not_text(name, text.count("\n", 0, match.start()) + 1))
    if not text.strip():
        raise StoryError(f"{name} is empty: write one prompt a line")
    return text


def _not_text(name: str, line: int) -> str:
    return f"{name}, line {line}: this is not text: a prompt file is text, one prompt a line"
