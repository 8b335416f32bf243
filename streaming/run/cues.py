"""The prompts of a finished video as cues for editing programs: EDL, FCPXML and OpenTimelineIO."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sana_stream._files import atomic_write, read_bounded, require_regular_file
from sana_stream._text import os_reason, safe_text, xml_text
from sana_stream.errors import ConfigError
from sana_stream.streaming.containers.probe import count_frames, frame_rate, open_video
from sana_stream.streaming.outputs.captions import read_chapters
from sana_stream.streaming.video_format import VideoFormat

from .fcpxml import cue_name, fcpxml_text

if TYPE_CHECKING:
    from sana_stream.streaming.containers.chapters import Chapter

ADAPTERS = {".edl": "cmx_3600", ".otio": "otio_json"}
FORMATS = (".edl", ".fcpxml", ".otio")
_EDL_RATES = (Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, 60)
_LONGEST_CAPTIONS = 256 << 20  # bytes


def export_cues(video: Path, target: Path, *, overwrite: bool = False) -> int:
    """Write a clip for each prompt that a video shows; returns how many.

    The prompts and their times are those of the captions next to the video.

    Args:
        video: a video file of this program.
        target: `.fcpxml` (Final Cut Pro), `.edl` (CMX 3600) or `.otio` (OpenTimelineIO).
        overwrite: replace a file that exists.

    Raises:
        ConfigError: a file that cannot be read or is there, a folder that does not exist, a frame
            rate that an EDL cannot express, or the package opentimelineio is missing, which `.edl`
            and `.otio` need.
        OSError: the file cannot be written.
    """
    name, suffix = safe_text(target), target.suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{name}: its ending names no format; use one of {' '.join(FORMATS)}")
    if os.path.lexists(target) and not overwrite:
        raise ConfigError(f"{name} exists; choose another name or set overwrite=True")
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"{name}: its folder does not exist; create it or choose another name")
    video_format, frames, sound = _probe(video)
    if suffix == ".edl" and video_format.rate not in _EDL_RATES:
        raise ConfigError(
            f"{name}: an EDL cannot express {float(video_format.rate):g} frames a second: make the"
            " video with fps=24, 25 or 30, or write .fcpxml or .otio"
        )
    cues = _read_cues(video, video_format.frame_time)
    if suffix == ".fcpxml":
        text = fcpxml_text(video, cues, video_format, frames, sound)
    else:
        text = _otio_text(video, cues, float(video_format.rate), frames, ADAPTERS[suffix])
    atomic_write(target, text.encode())
    return len(cues)


def _probe(video: Path) -> tuple[VideoFormat, int, bool]:
    """The size and rate of a video, the number of its frames, and whether it has sound."""
    try:
        require_regular_file(video)
        with video.open("rb") as file, open_video(file) as opened:
            stream = opened.streams.video[0]
            found = VideoFormat(stream.width, stream.height, _exact(frame_rate(opened)))
            sound = bool(opened.streams.audio)
            frames = count_frames(opened)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{safe_text(video)}: {os_reason(error)}: give a video file") from error
    return found, frames, sound


def _exact(rate: Fraction) -> Fraction:
    """A rate as it was asked for: Matroska keeps nanoseconds, from which libav estimates it."""
    whole = (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001))
    return next((each for each in whole if abs(rate - each) < each / 10**6), rate)


def _read_cues(video: Path, frame_time: Fraction) -> tuple[Chapter, ...]:
    names = (video.with_name(f"{video.name}.vtt"), video.with_suffix(".vtt"))
    captions = next((each for each in names if each.is_file()), names[-1])
    try:
        found = read_chapters(read_bounded(captions, _LONGEST_CAPTIONS), frame_time)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{safe_text(captions)}: {os_reason(error)}: the prompts of a video are in the captions"
            " next to it"
        ) from error
    if not found:
        raise ConfigError(f"{safe_text(captions)} has no captions: give a video of sana-stream")
    return found


def _otio_text(video: Path, cues: Sequence[Chapter], rate: float, frames: int, adapter: str) -> str:
    try:
        import opentimelineio

        if adapter not in opentimelineio.adapters.available_adapter_names():
            raise ImportError(adapter)
    except ImportError as error:
        raise ConfigError(
            "this format needs the package opentimelineio: pip install 'sana-stream[edit]', or"
            " write .fcpxml"
        ) from error
    timeline = _timeline(opentimelineio, video, cues, rate, frames)
    more: dict[str, Any] = {"rate": rate} if adapter == "cmx_3600" else {}
    return str(opentimelineio.adapters.write_to_string(timeline, adapter, **more))


def _timeline(otio: Any, video: Path, cues: Sequence[Chapter], rate: float, frames: int) -> Any:
    """A timeline with one track, on which each cue is a clip of the video."""
    time, span = otio.opentime.RationalTime, otio.opentime.TimeRange
    timeline = otio.schema.Timeline(xml_text(video.stem))
    track = otio.schema.Track("prompts", kind=otio.schema.TrackKind.Video)
    url = video.absolute().as_uri()
    for cue in cues:
        whole = span(time(0, rate), time(frames, rate))
        media = otio.schema.ExternalReference(url, whole)
        media.name = xml_text(video.name)
        part = span(time(cue.start, rate), time(cue.end - cue.start, rate))
        track.append(otio.schema.Clip(cue_name(cue), media, part))
    timeline.tracks.append(track)
    return timeline
