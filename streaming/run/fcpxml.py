"""A timeline of prompts as FCPXML, the exchange format of Final Cut Pro (version 1.9)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from sana_stream._text import CONTROL, xml_text

if TYPE_CHECKING:
    from sana_stream.streaming.containers.chapters import Chapter
    from sana_stream.streaming.video_format import VideoFormat

_SOUND = {"hasAudio": "1", "audioSources": "1", "audioChannels": "2", "audioRate": "48000"}
_LONGEST_NAME = 200  # characters of a cue


def cue_name(cue: Chapter) -> str:
    """A prompt as the name of a clip: one line of at most 200 characters."""
    return xml_text(CONTROL.sub(" ", " ".join(cue.title.split())))[:_LONGEST_NAME]


def fcpxml_text(
    video: Path, cues: Sequence[Chapter], video_format: VideoFormat, frames: int, sound: bool
) -> str:
    """A project with one clip of the video for each cue.

    Args:
        video: the file that the clips are of.
        cues: in order, in frames.
        video_format: of the video.
        frames: of the video.
        sound: whether the video has some, in stereo at 48 kHz.
    """

    def time(count: int) -> str:
        value = count * video_format.frame_time
        return f"{value.numerator}/{value.denominator}s"

    width, height = str(video_format.width), str(video_format.height)
    root = ElementTree.Element("fcpxml", version="1.9")
    resources = ElementTree.SubElement(root, "resources")
    ElementTree.SubElement(
        *(resources, "format"), id="r1", frameDuration=time(1), width=width, height=height
    )
    asset = ElementTree.SubElement(
        *(resources, "asset", _SOUND if sound else {}), id="r2", name=xml_text(video.name),
        start="0s", duration=time(frames), hasVideo="1", format="r1",
    )  # fmt: skip
    ElementTree.SubElement(
        *(asset, "media-rep"), kind="original-media", src=video.absolute().as_uri()
    )
    event = ElementTree.SubElement(ElementTree.SubElement(root, "library"), "event", name="prompts")
    project = ElementTree.SubElement(event, "project", name=xml_text(video.stem))
    length = sum(cue.end - cue.start for cue in cues)
    sequence = ElementTree.SubElement(project, "sequence", format="r1", duration=time(length))
    spine, offset = ElementTree.SubElement(sequence, "spine"), 0
    for cue in cues:
        ElementTree.SubElement(
            *(spine, "asset-clip"), ref="r2", name=cue_name(cue), offset=time(offset),
            start=time(cue.start), duration=time(cue.end - cue.start),
        )  # fmt: skip
        offset += cue.end - cue.start
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'
