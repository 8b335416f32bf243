"""Foreign text made safe to print: file names, tensor names, prompts, messages of servers."""

from __future__ import annotations

import unicodedata

LIMIT = 200  # characters; a name or a message that is longer says nothing more to a reader
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_text(text: object, limit: int = LIMIT) -> str:
    """One line of at most `limit` characters that cannot control a terminal.

    Line breaks and tabs become single spaces. Control characters (escape sequences among them),
    lone surrogates, private characters and marks that reverse the reading direction become
    escapes such as `\\x1b`. A longer text loses its middle, so that a path keeps its file name.

    Args:
        text: anything; an object is shown by its `str`.
        limit: characters of the result, at least 16.
    """
    whole = str(text)
    if len(whole) > 8 * limit:  # a text of megabytes is not walked through
        whole = f"{whole[: 4 * limit]}...{whole[-4 * limit :]}"
    shown = "".join(map(_shown, " ".join(whole.split())))
    if len(shown) <= limit:
        return shown
    head = (limit - 3) * 2 // 3
    return f"{shown[:head]}...{shown[len(shown) - (limit - 3 - head) :]}"


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
