"""The name of a video for which none is given."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath

from sana_stream._files import is_device_name

from .locks import lock_path
from .targets import STDOUT, first_segment

NAME_BYTES = 60  # of the words of a prompt in UTF-8
NUMBERS = range(2, 10_000)


def default_output(
    prompt_file: str | None,
    prompts: Sequence[str] = (),
    overwrite: bool = False,
    folder: str | os.PathLike[str] = "",
) -> str:
    """The path of a new video in a folder, by default the current one.

    It is named after the prompt file or the first prompt: `a-red-boat.mp4`. Where a video of that
    name exists or is being written, a number is added: `a-red-boat-2.mp4`.

    Args:
        prompt_file: a path, or `-` for standard input.
        prompts: used where no prompt file is given.
        overwrite: an existing video is replaced, so the name gets no number.
        folder: where the video will be.
    """
    if prompt_file is not None and prompt_file != STDOUT:
        stem = PurePath(prompt_file).stem
    else:
        stem = _words_as_name(prompts[0] if prompts else "") or "sana-stream"
    stem = os.path.join(folder, stem)
    first = f"{stem}.mp4"
    if overwrite or not _is_taken(first):
        return first
    numbered = (f"{stem}-{number}.mp4" for number in NUMBERS)
    return next((name for name in numbered if not _is_taken(name)), first)


def _words_as_name(text: str) -> str:
    """The first words of a text, joined by hyphens; empty where it has none."""
    name = ""
    for word in "".join(map(_in_word, unicodedata.normalize("NFC", text.lower()))).split():
        longer = f"{name}-{word}" if name else word
        if len(longer.encode("utf-8", "replace")) > NAME_BYTES:
            break
        name = longer
    return f"{name}-video" if is_device_name(name) else name


def _in_word(character: str) -> str:
    """A letter, a digit or a mark on a letter as it is; nothing for a joiner; else a space."""
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    return character if category[0] in "LMN" else " "


def _is_taken(name: str) -> bool:
    """Whether the video, its first segment, its captions, checkpoint or lock exists."""
    video = Path(name)
    companions = (video.with_suffix(".vtt"), video.with_suffix(".ckpt"), lock_path(video))
    return any(map(os.path.lexists, (video, first_segment(name), *companions)))
