"""The checkpoint next to a video: its name, and whether a file of that name may be replaced."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.targets import is_image_pattern, is_live

from .config import RunConfig

SUFFIX = ".ckpt"
_VIDEOS = (".mp4", ".mkv", ".mov", ".ts", ".webm", ".y4m", ".m3u8")


def checkpoint_path(outputs: Sequence[str]) -> Path | None:
    """The checkpoint's name: that of the first output on disk; None where there is none.

    Raises:
        ConfigError: the output has no name.
    """
    output = next((output for output in outputs if not is_live(output)), None)
    if output is None:
        return None
    path = Path(output)
    if not is_image_pattern(output):
        if not path.name:
            raise ConfigError(f"{output!r} is not the name of a video: give one such as film.mp4")
        return path.with_suffix(SUFFIX)
    folder = path.parent  # frames are named by their folder
    if folder.name == "..":
        folder = Path(os.path.abspath(folder))
    if not folder.name:
        return folder / f"frames{SUFFIX}"
    return folder.with_name(folder.name + SUFFIX)


def checkpoint_of(video: Path) -> Path | None:
    """The checkpoint next to a video, if it was written by the run that made the video."""
    from sana_stream.streaming.containers.run_id import read_run

    path = video.with_suffix(SUFFIX)
    if not path.exists():
        return None
    from sana_stream.engine.snapshot.file import read_header
    from sana_stream.errors import SnapshotError

    try:
        run = read_header(path).extra.get("run")
    except (OSError, SnapshotError):
        return None
    run_id = run.get("id") if isinstance(run, dict) else None
    return path if run_id is not None and run_id == read_run(video) else None


def check_replaceable(path: Path, config: RunConfig) -> None:
    """Refuse to begin a video whose checkpoint would take the place of another file.

    Raises:
        ConfigError: there is a file of this name that is no checkpoint, or one that an interrupted
            video needs.
    """
    if not os.path.lexists(path):
        return
    from sana_stream.engine.snapshot.file import read_header
    from sana_stream.errors import SnapshotError

    name = safe_text(path)
    try:
        run = read_header(path).extra.get("run")
    except SnapshotError as error:
        raise ConfigError(
            f"{name} exists and is not a checkpoint of sana-stream, so it is not replaced: choose"
            " another name, or checkpoint=False"
        ) from error
    if not config.overwrite:
        raise ConfigError(
            f"{name} exists, the checkpoint of an interrupted video: resume that one"
            f" (sana-stream resume {shlex.quote(name)}), choose another name, or"
            " replace it with overwrite=True"
        )
    if (other := _video_of(path, run, config.targets)) is not None:
        raise ConfigError(
            f"{name} is the checkpoint of {safe_text(other)}: choose another name, or"
            " checkpoint=False"
        )


def _video_of(path: Path, run: object, outputs: Sequence[str]) -> Path | None:
    """The other video that a checkpoint belongs to, if there is one next to it."""
    from sana_stream.streaming.containers.run_id import read_run

    run_id = run.get("id") if isinstance(run, dict) else None
    named = {os.path.realpath(output) for output in outputs}
    for suffix in _VIDEOS if run_id is not None else ():
        video = path.with_suffix(suffix)
        if os.path.realpath(video) not in named and read_run(video) == run_id:
            return video
    return None
