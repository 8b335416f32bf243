"""The prompts of a recording, as its captions have them."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._files import read_bounded
from sana_stream.streaming.outputs.captions import read_chapters

if TYPE_CHECKING:
    from sana_stream.streaming.containers.chapters import Chapter

_LARGEST = 4 << 20  # bytes of captions


def recorded_prompts(recording: Path, rate: Fraction) -> tuple[Chapter, ...]:
    """The prompts in the captions next to a recording; none where they cannot be read.

    Args:
        recording: the video file, finished or growing.
        rate: frames per second.
    """
    with suppress(OSError, ValueError):
        return read_chapters(read_bounded(recording.with_suffix(".vtt"), _LARGEST), 1 / rate)
    return ()
