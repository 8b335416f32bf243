"""From bytes to the text of a story: UTF-8, UTF-16 and UTF-32, else Windows-1252."""

from __future__ import annotations

import codecs
import re

from .story import StoryError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")


def decode(data: bytes | str, name: str) -> tuple[str, tuple[str, ...]]:
    """The text, with line feeds for line ends, and what is to be told of how it was read.

    Raises:
        StoryError: no text, or none in these encodings; empty.
    """
    text, notes = (data, ()) if isinstance(data, str) else _decoded(data, name)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    text = text.removesuffix("\x1a")  # the end of a file, as DOS wrote it
    if match := _CONTROL.search(text):
        raise StoryError(not_text(name, text.count("\n", 0, match.start()) + 1))
    if not text.strip():
        raise StoryError(f"{name} is empty: write one prompt a line")
    return text, notes


def not_text(name: str, line: int) -> str:
    """The message for bytes that are no text."""
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
    """Windows-1252, unless other characters show that it is damaged UTF-8, or it has others."""
    told = f"{name}, line {line}: byte 0x{byte:02x} is not UTF-8"
    valid = data.decode("utf-8", "ignore")
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise StoryError(f"{told}: save it as UTF-8") from None
    if not valid.isascii():
        raise StoryError(f"{told}: save it as UTF-8")
    return text, (f"{told}: the file was read as Windows-1252; save it as UTF-8 if that is wrong",)


def _utf16_without_mark(data: bytes) -> str | None:
    """The byte order of western text in UTF-16 that has no mark: every other byte is zero."""
    half = len(data) // 2
    if len(data) % 2 or half < 2:
        return None
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if odd * 10 > half * 7 and not even:
        return "utf-16-le"
    return "utf-16-be" if even * 10 > half * 7 and not odd else None
