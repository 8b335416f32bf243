"""How an output is opened, beyond what is sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sana_stream._arguments import OUTPUT_ARGUMENTS
from sana_stream.errors import InvalidOutputError

SMALLEST_WINDOW = 3  # blocks; players fetch the last three
_LARGEST_WINDOW = 10**9
_LONGEST_SEGMENT = 1e9  # seconds


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """The settings of one output; the defaults write a new output from its first frame.

    Raises InvalidOutputError for a value outside what each field allows.

    Args:
        container: the container of standard output and of sockets, one of `CONTAINERS`; the name of
            a file decides its own. None: Matroska for pipes and ffmpeg, else MPEG-TS.
        overwrite: replace files that exist.
        resume_frames: append to the output of an earlier run after this many frames; its files must
            have the id `metadata.run`.
        segment_seconds: begin a new video file after this many seconds, more than 0.
        window: keep the last `window` blocks of a playlist, at least 3. None: keep all.
        longest_block: pixel frames of the stream's longest block, whose duration a playlist states
            from the start. 0: of those written so far.
        captions: the WebVTT file of a video file. None: its name with `.vtt`.
        sole_output: the run has no other output, so a lost connection ends the output instead of
            being reopened.
        sign: a PEM file with a certificate and its private key, with which a finished `.mp4` or
            `.mov` file gets content credentials (C2PA).
    """

    container: str | None = None
    overwrite: bool = False
    resume_frames: int = 0
    segment_seconds: float | None = None
    window: int | None = None
    longest_block: int = 0
    captions: Path | None = None
    sole_output: bool = True
    sign: Path | None = None

    def __post_init__(self) -> None:
        if self.container is not None:
            OUTPUT_ARGUMENTS.word("container", self.container)
        OUTPUT_ARGUMENTS.flag("overwrite", self.overwrite)
        OUTPUT_ARGUMENTS.whole("resume_frames", self.resume_frames, 0)
        if self.segment_seconds is not None:
            OUTPUT_ARGUMENTS.number(
                "segment_seconds", self.segment_seconds, above=0, most=_LONGEST_SEGMENT
            )
        if self.window is not None:
            OUTPUT_ARGUMENTS.whole("window", self.window, most=_LARGEST_WINDOW)
            if self.window < SMALLEST_WINDOW:
                raise InvalidOutputError(
                    f"window {self.window}: players need at least {SMALLEST_WINDOW} blocks"
                )
        OUTPUT_ARGUMENTS.whole("longest_block", self.longest_block, 0)
        if self.captions is not None:
            OUTPUT_ARGUMENTS.path("captions", self.captions)
        if self.sign is not None:
            OUTPUT_ARGUMENTS.path("sign", self.sign)
        OUTPUT_ARGUMENTS.flag("sole_output", self.sole_output)
