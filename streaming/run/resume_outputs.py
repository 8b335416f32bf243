"""Which outputs a resumed run writes: those next to its checkpoint, and those given again.

A checkpoint may come from a stranger. So the outputs in it only name files in the checkpoint's own
folder or below. Their paths follow from the checkpoint's present path and name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.targets import (
    first_segment,
    is_address,
    is_image_pattern,
    is_live,
)

from .stored import StoredRun


def resumed_outputs(
    stored: StoredRun, checkpoint: Path, given: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The outputs of a resumed run, and those of the earlier run that are left out.

    The first output next to the checkpoint is the video that is resumed. Other files next to it are
    continued if they have the id of the same run. URLs and files elsewhere are continued only if
    they are `given` again.

    Raises:
        ConfigError: the video is not next to its checkpoint.
    """
    places = {
        output: _place_next_to(output, stored, checkpoint) for output in stored.config.targets
    }
    first = next((place for place in places.values() if place is not None), None)
    if first is not None and is_live(first):
        raise ConfigError(f"{safe_text(first)} is a named pipe, not the video that was begun")
    if first is None or not _first_file(first, stored).exists():
        missing = checkpoint.with_suffix(".mp4") if first is None else first
        raise ConfigError(
            f"{safe_text(missing)} is not there, the video that {safe_text(checkpoint)} continues:"
            " put it next to its checkpoint, under the same name"
        )
    chosen, left = [first], []
    again = {os.path.realpath(output) for output in given}
    for output, place in places.items():
        if place == first or output in given or (place and os.path.realpath(place) in again):
            continue
        if place is not None and _is_of_run(place, stored):
            chosen.append(place)
        else:
            left.append(output)
    taken = {os.path.realpath(output) for output in chosen}
    chosen += [output for output in given if os.path.realpath(output) not in taken]
    return tuple(chosen), tuple(left)


def places_next_to(stored: StoredRun, checkpoint: Path) -> tuple[str, ...]:
    """The present paths of the outputs of a checkpoint's run that are in its folder."""
    places = (_place_next_to(output, stored, checkpoint) for output in stored.config.targets)
    return tuple(place for place in places if place is not None)


def _place_next_to(output: str, stored: StoredRun, checkpoint: Path) -> str | None:
    """An output's present place, if it was in the checkpoint's folder or below."""
    before = stored.checkpoint
    if is_address(output) or before is None:
        return None
    try:
        relative = PurePath(os.path.relpath(output, before.parent))
    except ValueError:  # on another drive
        return None
    if relative.is_absolute() or ".." in relative.parts or not relative.name:
        return None
    top, *inner = relative.parts
    stem, suffix = (top, "") if inner else (PurePath(top).stem, PurePath(top).suffix)
    if stem == before.stem:  # a video and its checkpoint have one name, whatever it is now
        top = checkpoint.stem + suffix
    return str(Path(checkpoint.parent, top, *inner))


def _first_file(output: str, stored: StoredRun) -> Path:
    """The file with which an output begins."""
    if is_image_pattern(output):
        try:
            return Path(output).with_name(Path(output).name % 0)
        except (TypeError, ValueError):
            return Path(output)
    is_video = not output.lower().endswith(".m3u8")
    return Path(first_segment(output) if is_video and stored.config.segment else output)


def _is_of_run(output: str, stored: StoredRun) -> bool:
    from sana_stream.streaming.containers.run_id import read_run

    file = _first_file(output, stored)
    return file.is_file() and read_run(file) == stored.id
