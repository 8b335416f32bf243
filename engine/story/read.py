"""Reading of a story from a file or standard input, with detection of its format."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path, PurePath
from typing import BinaryIO

from sana_stream._text import LINE_BREAKS, find_control, safe_text
from sana_stream.errors import StoryError

from .captions import looks_like_captions, parse_captions, parse_substation
from .json_formats import looks_like_json, parse_json
from .markup import unfenced
from .other_formats import SUBSTATION, check_bytes, check_suffix, check_text, is_substation
from .story import Story
from .text import parse_text

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes | str, name: str) -> tuple[str, tuple[str, ...]]:
    """Decode to text with line feeds as line ends, and return notes about the decoding.

    Raises:
        StoryError: not text, an unsupported encoding, or empty.
    """
    text, notes = (data, ()) if isinstance(data, str) else _decoded(data, name)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    text = text.removesuffix("\x1a")  # DOS's end-of-file mark
    if match := find_control(text, LINE_BREAKS + "\x85"):
        raise StoryError(not_text(name, text.count("\n", 0, match.start()) + 1))
    if not text.strip():
        raise StoryError(f"{name} is empty: write one prompt a line")
    return text, notes


def not_text(name: str, line: int) -> str:
    """Build the message for bytes that are not text."""
    return f"{name}, line {line}: this is not text: a prompt file is text, one prompt a line"


def _decoded(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    encoding = next((code for mark, code in _MARKS if data.startswith(mark)), None)
    encoding = encoding or _utf16_without_mark(data) or "utf-8"
    try:
        return data.decode(encoding), ()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if encoding != "utf-8":
            reason = f"begins as {encoding.upper()}, but is not: save it as UTF-8"
            raise StoryError(f"{name} {reason}") from None
        if b"\0" in data:
            raise StoryError(not_text(name, line)) from None
        return _western(data, name, line, data[error.start])


def _western(data: bytes, name: str, line: int, byte: int) -> tuple[str, tuple[str, ...]]:
    """Decode Windows-1252, unless other characters show that the text is damaged UTF-8."""
    problem = f"{name}, line {line}: byte 0x{byte:02x} is not UTF-8"
    valid = data.decode("utf-8", "ignore")
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise StoryError(f"{problem}: save it as UTF-8") from None
    if not valid.isascii():
        raise StoryError(f"{problem}: save it as UTF-8")
    note = f"{problem}: the file was read as Windows-1252; save it as UTF-8 if that is wrong"
    return text, (note,)


def _utf16_without_mark(data: bytes) -> str | None:
    """Detect the byte order of western UTF-16 without a byte order mark, by its zero bytes."""
    half = len(data) // 2
    if len(data) % 2 or half < 2:
        return None
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if odd * 10 > half * 7 and not even:
        return "utf-16-le"
    return "utf-16-be" if even * 10 > half * 7 and not odd else None


MAX_BYTES = 1 << 20  # far above any story; a video given by mistake is refused early
_CAPTIONS = (".vtt", ".srt", ".sbv")
_JSON = (".json", ".jsonl")
_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # paths of a shell's <(command)


def read_story(path: str | Path) -> Story:
    """Read a story from a file (`-`: standard input); its format is detected.

    Formats: plain text, WebVTT, SRT, SBV, SSA and ASS, and the JSON formats of `json_formats`.
    Encodings: UTF-8, UTF-16, else Windows-1252, with any line ends. Relative paths of images are
    resolved against the file's folder. The story's `notes` list what was ignored or interpreted.

    Raises:
        StoryError: the file is missing, not a regular file, not readable, too large, empty, not
            text, or of another format; or its content is not allowed, with the line.
    """
    if str(path) == "-":
        return parse_story(_read_standard_input(), "standard input")
    path, shown = Path(path), safe_text(path)
    try:
        _check_kind(path, shown)
        with path.open("rb") as file:
            data = _read(file, shown)
    except FileNotFoundError:
        raise StoryError(f"{shown} does not exist: give the path of a prompt file") from None
    except IsADirectoryError:
        raise StoryError(f"{shown} is a folder: give the path of a prompt file") from None
    except OSError as error:
        raise StoryError(f"{shown} cannot be read: {error.strerror or error}") from None
    except StoryError:
        raise
    except ValueError as error:  # a name with a NUL in it
        raise StoryError(f"{shown} cannot be read: {error}") from None
    return parse_story(data, str(path)).with_image_root(path.parent)


def parse_story(data: bytes | str, name: str) -> Story:
    """Parse the bytes or the text of a file called `name`; raises as `read_story`."""
    suffix, name = PurePath(name.replace("\0", "")).suffix.lower(), safe_text(name)
    if isinstance(data, bytes):
        check_bytes(data, name)
    text, notes = decode(data, name)
    story = _parse(text, name, suffix)
    return replace(story, notes=(*notes, *story.notes)) if notes else story


def _parse(text: str, name: str, suffix: str) -> Story:
    lines, outside = unfenced(text.split("\n"))
    story = _parse_lines(lines, name, suffix)
    if not outside:
        return story
    note = f"{name}: only its code block is read"
    return replace(story, notes=(note, *story.notes))


def _parse_lines(lines: list[str], name: str, suffix: str) -> Story:
    if is_substation(lines):
        return parse_substation(lines, name)
    if suffix not in _CAPTIONS:
        check_text(lines, name)
    if suffix in _CAPTIONS or (suffix not in _JSON and looks_like_captions(lines)):
        return parse_captions(lines, name, vtt=suffix == ".vtt")
    if suffix not in SUBSTATION:
        check_suffix(suffix, name)
    if suffix in _JSON or looks_like_json(lines):
        return parse_json("\n".join(lines), name)
    return parse_text(lines, name)


def _check_kind(path: Path, shown: str) -> None:
    """Accept only files that end: a regular file, or a pipe that the shell has opened."""
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    from_shell = os.path.abspath(path).startswith(_PIPES)
    pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or _is_terminal(mode, path)
    if not from_shell or not pipe:
        raise StoryError(f"{shown} is not a regular file: give the path of a prompt file")


def _is_terminal(mode: int, path: Path) -> bool:
    if not stat.S_ISCHR(mode):
        return False
    with path.open("rb", buffering=0) as file:
        return file.isatty()


def _read_standard_input() -> bytes:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - it may be closed
        raise StoryError("standard input is closed: give the path of a prompt file")
    try:
        return _read(sys.stdin.buffer, "standard input")
    except (OSError, ValueError) as error:
        if isinstance(error, StoryError):
            raise
        raise StoryError(f"standard input cannot be read: {error}") from None


def _read(file: BinaryIO, name: str) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise StoryError(f"{name} is larger than 1 MiB: a prompt file is text, one prompt a line")
    return data
