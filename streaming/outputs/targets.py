"""What the text that names an output refers to: a file, a pipe, an address."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import PurePath

from sana_stream.errors import ConfigError

STDOUT = "-"


def is_live(output: str) -> bool:
    """Whether an output keeps no video: standard output, an address or a named pipe."""
    return is_address(output) or is_named_pipe(output)


def is_address(output: str) -> bool:
    """Whether an output is standard output or a URL, whose name gives no container."""
    return output == STDOUT or "://" in output


def is_image_pattern(output: str) -> bool:
    """Whether an output is a sequence of PNG files, such as frames/%06d.png."""
    return not is_address(output) and output.lower().endswith(".png")


def is_playlist(output: str) -> bool:
    """Whether an output is an HLS playlist with its segments."""
    return not is_live(output) and output.lower().endswith(".m3u8")


def is_video_file(output: str) -> bool:
    """Whether an output is one file that holds the video."""
    return not is_live(output) and not output.lower().endswith((".m3u8", ".png"))


def first_segment(output: str) -> str:
    """The name of the first file of a video that is split into several."""
    path = PurePath(output)
    return str(path.with_stem(f"{path.stem}-0001"))


def check_outputs(
    outputs: Sequence[str], container: str | None, segment: float | None, window: int | None
) -> None:
    """Refuse outputs that cannot be combined, and settings that none of them takes.

    Raises:
        ConfigError: which output or setting, and what to do.
    """
    for output in outputs:
        if outputs.count(output) > 1:
            raise ConfigError(f"outputs={[output]!r} is given twice: once is enough")
        if not is_live(output) and PurePath(output).name in ("", ".."):
            raise ConfigError(f"outputs={[output]!r} is a folder: give the name of a file in it")
    if container and not any(is_address(output) for output in outputs):
        raise ConfigError(
            f"container={container!r} is for outputs=['-'] and for addresses: "
            "the name of a file decides its format"
        )
    if segment and not any(is_video_file(output) for output in outputs):
        raise ConfigError("segment= is for video files: give one, such as outputs=['film.mp4']")
    if window and not any(is_playlist(output) for output in outputs):
        raise ConfigError("window= is for playlists: give one, such as outputs=['live/live.m3u8']")


def is_named_pipe(output: str) -> bool:
    """Whether an output is a named pipe, which keeps nothing of a stream."""
    try:
        return stat.S_ISFIFO(os.stat(output).st_mode)
    except (OSError, ValueError):
        return False
