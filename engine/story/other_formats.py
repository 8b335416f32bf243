"""Recognition of formats that are not stories, which are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable

from sana_stream.errors import StoryError

SUBSTATION = (".ass", ".ssa")

_SAVE_TEXT = "save it as plain text"
_SAVE_SRT = "save it as SRT or WebVTT"
_NOT_STORY = "a prompt file is text, one prompt a line"
_UNPACK = "unpack it, and give the prompt file in it"

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF document", _SAVE_TEXT),
    (
        b"PK\x03\x04",
        "a ZIP archive or an Office document (DOCX, ODT)",
        f"{_SAVE_TEXT}, or unpack it",
    ),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document (DOC)", _SAVE_TEXT),
    (b"{\\rtf", "an RTF document", _SAVE_TEXT),
    (b"\x1f\x8b", "a gzip file", _UNPACK),
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ\0", "an xz file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x89PNG\r\n", "a PNG picture", "give it as the image"),
    (b"\xff\xd8\xff", "a JPEG picture", "give it as the image"),
    (b"GIF8", "a GIF picture", "give it as the image"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video", "give it as the video"),
    (b"\x00\x00\x01\xba", "an MPEG video or VobSub subtitles", _SAVE_SRT),
    (b"OggS", "an Ogg file", _NOT_STORY),
    (b"ID3", "an MP3 file", _NOT_STORY),
    (b"fLaC", "a FLAC file", _NOT_STORY),
    (b"SQLite format 3\0", "an SQLite database", _NOT_STORY),
    (b"\x7fELF", "a program", _NOT_STORY),
    (b"\x93NUMPY", "a NumPy array", _NOT_STORY),
)

_TEXTS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, todo)
    for pattern, kind, todo in (
        (r"\{\d+\}\{\d*\}", "MicroDVD subtitles", _SAVE_SRT),
        (r"\[\d+\]\[\d*\]", "MPL2 subtitles", _SAVE_SRT),
        (r"\[(?:ar|ti|al|au|by|re|ve|la|lr|offset|length|tool)\s*:", "LRC lyrics", _SAVE_SRT),
        (r"\[INFORMATION\]", "SubViewer subtitles", _SAVE_SRT),
        (r"Scenarist_SCC\b", "SCC captions", _SAVE_SRT),
        (r"<SAMI\b", "SAMI captions", _SAVE_SRT),
        (r"<(?:tt|tt:tt)[\s>]", "TTML captions", _SAVE_SRT),
        (r"<FinalDraft\b", "a Final Draft script", _SAVE_TEXT),
        (r"<(?:!DOCTYPE\s+html|html)\b", "an HTML page", _SAVE_TEXT),
        (r"<svg\b", "an SVG picture", _NOT_STORY),
        (r"<\?xml\b|<!DOCTYPE\b", "XML", f"{_SAVE_TEXT}, captions as SRT or WebVTT"),
        (r"\[\d{1,3}:\d\d[.:]\d{2,3}\](?=[^\s\])])", "LRC lyrics", _SAVE_SRT),
        (r"\{QTtext\}", "QuickTime text", _SAVE_SRT),
        (r"<!--", "HTML or XML", _SAVE_TEXT),
        (r"\[\[\w+\]\]$", "TOML", "write it as plain text or JSON"),
        (r"\w+\s*=\s*[\[{\"']", "a program or a configuration", "write it as plain text or JSON"),
        (
            r"-\s+[\"']?(?:time|start|begin|prompt|text|frame|scene|image|caption|seconds?)[\"']?\s*:",
            "YAML",
            "write it as plain text or JSON",
        ),
        (
            r"%YAML|(?:prompts|scenes|shots|story|cues)\s*:\s*$",
            "YAML",
            "write it as plain text or JSON",
        ),
        (r";FFMETADATA", "FFmpeg's metadata", _SAVE_TEXT),
        (r"CHAPTER\d+=", "a list of OGM chapters", "write 0:00 and the prompt a line"),
        (r"#EXTM3U", "an M3U playlist", _NOT_STORY),
        (
            r'"?(?:start|time|begin|frame|timestamp)[\w ()]*"?\s*[,;\t]\s*"?\w+',
            "a CSV table",
            "write 0:00 and the prompt a line",
        ),
        (r"%!PS", "a PostScript file", _SAVE_TEXT),
        (r"#!\s*/", "a program", _NOT_STORY),
        (r"\\documentclass\b", "a LaTeX document", _SAVE_TEXT),
        (r"version https://git-lfs\.github\.com/", "a pointer of Git LFS", "fetch the file itself"),
    )
)

_SUFFIXES = {
    **dict.fromkeys((".sub",), ("MicroDVD or VobSub subtitles", _SAVE_SRT)),
    **dict.fromkeys((".ttml", ".dfxp", ".itt"), ("TTML captions", _SAVE_SRT)),
    **dict.fromkeys((".smi", ".sami"), ("SAMI captions", _SAVE_SRT)),
    **dict.fromkeys((".stl", ".scc", ".mcc", ".cap", ".sup", ".idx"), ("captions", _SAVE_SRT)),
    **dict.fromkeys((".yaml", ".yml"), ("YAML", "write it as plain text or JSON")),
    **dict.fromkeys((".toml", ".ini"), ("a configuration", "write it as plain text or JSON")),
    **dict.fromkeys((".csv", ".tsv"), ("a CSV table", "write 0:00 and the prompt a line")),
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("an HTML page", _SAVE_TEXT)),
    **dict.fromkeys((".xml", ".fdx"), ("XML", _SAVE_TEXT)),
    **dict.fromkeys((".lrc",), ("LRC lyrics", _SAVE_SRT)),
    **dict.fromkeys((".edl",), ("an edit decision list", "write 0:00 and the prompt a line")),
    **dict.fromkeys((".fountain",), ("a Fountain script", _SAVE_TEXT)),
    **dict.fromkeys((".rtf", ".doc", ".docx", ".odt", ".pages"), ("a document", _SAVE_TEXT)),
}


_COLUMNS = re.compile(r"[,;\t|]")
_TIME_COLUMNS = {
    "start",
    "time",
    "begin",
    "frame",
    "timestamp",
    "end",
    "duration",
    "seconds",
    "in",
    "code",
}
_TEXT_COLUMNS = {
    "prompt",
    "text",
    "caption",
    "description",
    "scene",
    "name",
    "content",
    "shot",
    "positive",
}
_ROW = re.compile(r"\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)+\|?")
_ELEMENT = re.compile(r"<([A-Za-z][\w-]*)(?:\s[^<>]*|/)?>")
_KEY = re.compile(r"[A-Za-z_]\w*\s*:(?:\s|$)|-\s")
_YAML_LIST = re.compile(r"(?:prompts|scenes|shots|story|cues)\s*:", re.IGNORECASE)


def _is_table(first: str, others: list[str]) -> bool:
    return any(_ROW.fullmatch(line[:1000]) for line in (first, *others))


def _is_table_head(first: str, others: list[str]) -> bool:
    """Whether a line has column names, one for times and one for texts."""
    columns = [{*field.lower().strip("\"' #").split()} for field in _COLUMNS.split(first)]
    named = [words for words in columns if words]
    return any(words <= _TIME_COLUMNS for words in named) and any(
        words <= _TEXT_COLUMNS for words in named
    )


def _is_markup(first: str, others: list[str]) -> bool:
    """Whether a text begins with a closed XML element; markup in prompts has none."""
    match = _ELEMENT.match(first)
    return match is not None and (
        match[0].endswith("/>") or any(f"</{match[1]}" in line for line in (first, *others))
    )


def _is_yaml(first: str, others: list[str]) -> bool:
    begins = first == "---" and bool(others) and _KEY.match(others[0]) is not None
    keyed = _KEY.match(first) is not None and any(_YAML_LIST.fullmatch(line) for line in others)
    return begins or keyed


def _is_ini(first: str, others: list[str]) -> bool:
    section = re.fullmatch(r"\[[\w .-]+\]", first) is not None
    return section and bool(others) and re.match(r"\w+\s*=", others[0]) is not None


def _is_edl(first: str, others: list[str]) -> bool:
    return first.startswith("TITLE:") and bool(others) and others[0].startswith("FCM:")


_KINDS: tuple[tuple[Callable[[str, list[str]], bool], str, str], ...] = (
    (_is_table, "a table of Markdown", "write 0:00 and the prompt a line"),
    (_is_table_head, "a CSV table", "write 0:00 and the prompt a line"),
    (_is_yaml, "YAML", "write it as plain text or JSON"),
    (_is_ini, "a configuration", "write it as plain text or JSON"),
    (_is_edl, "an edit decision list (EDL)", "write 0:00 and the prompt a line"),
    (_is_markup, "HTML or XML", _SAVE_TEXT),
)


def check_bytes(data: bytes, name: str) -> None:
    """Refuse a format that is recognized by its first bytes.

    Raises:
        StoryError: names the format, and what to do.
    """
    for magic, kind, todo in _MAGIC:
        if data.startswith(magic):
            raise _binary(name, kind, todo)
    if data[:4] == b"RIFF" and data[8:12] in (b"WEBP", b"AVI ", b"WAVE"):
        raise _binary(name, f"a {data[8:12].decode().strip()} file", _NOT_STORY)
    if data[4:8] == b"ftyp":
        raise _binary(name, "an MP4 video or a HEIC picture", "give it as the video or the image")


def check_text(lines: list[str], name: str) -> None:
    """Refuse a format that is recognized by its first lines.

    Raises:
        StoryError: names the format, and what to do.
    """
    first, *others = ([line.strip() for line in lines[:50] if line.strip()] or [""])[:8]
    for pattern, kind, todo in _TEXTS:
        if pattern.match(first[:1000]):
            if kind == "XML":  # its first element names the format
                check_text([line for line in others if not line.startswith("<?")], name)
                _check_inside(first, name)
            raise _refused(name, kind, todo)
    for applies, kind, todo in _KINDS:
        if applies(first[:1000], others):
            raise _refused(name, kind, todo)


def check_suffix(suffix: str, name: str) -> None:
    """Refuse a format that is recognized by the file's suffix.

    Raises:
        StoryError: names the format, and what to do.
    """
    if suffix in _SUFFIXES:
        raise _refused(name, *_SUFFIXES[suffix])


def is_substation(lines: list[str]) -> bool:
    """Whether a text is SubStation's SSA or ASS."""
    first = next((line.strip().lower() for line in lines if line.strip()), "")
    return first in ("[script info]", "[events]", "[v4+ styles]", "[v4 styles]") or (
        re.match(r"(?:dialogue|format):\s*[\w=]+\s*,", first) is not None
    )


def _check_inside(first: str, name: str) -> None:
    """Check the element after an XML declaration on the same line."""
    _, _, rest = first[:1000].partition("?>")
    if rest.strip():
        check_text([rest], name)


def _binary(name: str, kind: str, todo: str) -> StoryError:
    return StoryError(f"{name}, line 1: this is not text but {kind}: {todo}")


def _refused(name: str, kind: str, todo: str) -> StoryError:
    return StoryError(f"{name} is {kind}, not a story: {todo}")
