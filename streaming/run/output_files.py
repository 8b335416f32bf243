"""Which files the outputs of one run write, so that no two write the same one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.targets import is_live, is_playlist, is_video_file


def check_apart(outputs: Sequence[str], segmented: bool) -> None:
    """Refuse outputs of which two would write the same file, by whatever name.

    Raises:
        ConfigError: which two.
    """
    taken: dict[object, str] = {}
    for output in outputs:
        for place in () if is_live(output) else _places(output, segmented):
            other = taken.setdefault(place, output)
            if other != output:
                raise ConfigError(
                    f"outputs={[safe_text(output)]!r} would write the same files as"
                    f" outputs={[safe_text(other)]!r}: give another name"
                )


def caption_files(outputs: Sequence[str]) -> dict[str, Path]:
    """The captions file of each video: `film.vtt`, or `film.mkv.vtt` where that name is taken.

    Raises:
        ConfigError: both names are taken.
    """
    files: dict[str, Path] = {}
    taken: set[str] = set()
    for output in filter(is_video_file, outputs):
        path = Path(output)
        names = (path.with_suffix(".vtt"), path.with_name(f"{path.name}.vtt"))
        free = next((name for name in names if os.path.realpath(name) not in taken), None)
        if free is None:
            raise ConfigError(
                f"outputs={[safe_text(output)]!r}: its captions would be those of another"
                " output: give another name"
            )
        taken.add(os.path.realpath(free))
        files[output] = free
    return files


def _places(output: str, segmented: bool) -> Iterator[object]:
    path = Path(output)
    yield os.path.realpath(path)
    if is_playlist(output):  # what its segments are called does not follow from its name
        yield os.path.realpath(path.with_name("init.mp4"))
    elif segmented and is_video_file(output):  # the captions of its parts
        yield os.path.realpath(path.with_suffix(".vtt"))
    if path.is_file():
        found = path.stat()
        yield found.st_dev, found.st_ino
