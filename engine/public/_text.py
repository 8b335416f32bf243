"""Escaping of untrusted text for output: file names, tensor names, prompts, server messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LIMIT = 200  # characters of a name or a message
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# C0 and C1 controls, which could control a terminal, and surrogates of bytes that were not UTF-8
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
LINE_BREAKS = "\t\n\r"
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")  # XML 1.0, 2.2


def find_control(text: str, allowed: str = "") -> re.Match[str] | None:
    """The first control character or surrogate that is not in `allowed`; `None` without one."""
    return next((found for found in CONTROL.finditer(text) if found[0] not in allowed), None)


def safe_text(text: object, limit: int = LIMIT) -> str:
    """Format text as one line of at most `limit` characters that cannot control a terminal.

    Line breaks and tabs become single spaces. Control characters (escape sequences among them),
    lone surrogates, private characters and bidirectional marks become escapes such as `\\x1b`. The
    middle of a longer text is replaced by dots, so that a path keeps its file name.

    Args:
        text: any object; formatted by its `str`.
        limit: maximal characters of the result, at least 16.
    """
    whole = str(text)
    if len(whole) > 8 * limit:  # avoid processing megabytes
        whole = f"{whole[: 4 * limit]}...{whole[-4 * limit :]}"
    shown = "".join(map(_shown, " ".join(whole.split())))
    if len(shown) <= limit:
        return shown
    head = (limit - 3) * 2 // 3
    return f"{shown[:head]}...{shown[len(shown) - (limit - 3 - head) :]}"


def xml_text(text: str) -> str:
    """Text with a space in place of each character that XML 1.0 cannot hold."""
    return _NO_XML.sub(" ", text)


def os_reason(error: Exception) -> str:
    """The reason of an error in lower case, without its number: `strerror`, or else its text."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def _shown(character: str) -> str:
    if character.isprintable() and character not in _REORDERING:
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    code = ord(character)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def name_list(names: Iterable[str], most: int = 3) -> str:
    """The first `most` names in alphabetical order, and the number of the others."""
    ordered = sorted(names)
    listed = ", ".join(safe_text(name, 120) for name in ordered[:most])
    return f"{listed} and {len(ordered) - most} more" if len(ordered) > most else listed


def shape_text(shape: Iterable[object]) -> str:
    """A tensor's shape as a tuple, of at most 80 characters."""
    return safe_text(tuple(shape), 80)
