"""From what a user writes after `--out` to the output it names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event

from sana_stream._arguments import OUTPUT_ARGUMENTS, shown
from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.encoder import fall_back_to_software
from sana_stream.streaming.containers.registry import BY_SUFFIX, create_muxer, resolve
from sana_stream.streaming.video_format import EncoderSettings, Metadata, VideoFormat

from .addresses import open_address
from .base import Output
from .file import FileOutput
from .hls import HlsOutput
from .images import ImageSequenceOutput
from .locks import OutputLocks
from .pipe import NamedPipeOutput, PipeOutput, claim_stdout, is_named_pipe
from .segmented import SegmentedOutput

MOST_BLOCKS = 10**9
LONGEST_SEGMENT = 1e9  # seconds


def check_request(
    target: object,
    video: object,
    encoding: object,
    tags: object,
    *,
    container: object,
    overwrite: object,
    sole_output: object,
    resume_frames: object,
    segment_seconds: object,
    window: object,
    stop: object,
    stdout: object,
    report: object,
) -> str:
    """The target as text.

    Raises:
        InvalidOutputError: an argument of `open_output` of the wrong kind or out of its range.
    """
    for name, value, kind in (
        ("video", video, VideoFormat),
        ("encoding", encoding, EncoderSettings),
        ("tags", tags, Metadata),
        ("stop", stop, Event),
    ):
        if not isinstance(value, kind):
            raise InvalidOutputError(f"{name} {shown(value)}: give a {kind.__name__}")
    if not isinstance(report, Callable):
        raise InvalidOutputError(f"report {shown(report)}: give a function that takes a line")
    if container is not None:
        OUTPUT_ARGUMENTS.word("container", container)
    OUTPUT_ARGUMENTS.flag("overwrite", overwrite)
    OUTPUT_ARGUMENTS.flag("alone", sole_output)
    OUTPUT_ARGUMENTS.whole("kept", resume_frames, 0)
    if segment_seconds is not None:
        OUTPUT_ARGUMENTS.number("segment_seconds", segment_seconds, most=LONGEST_SEGMENT)
    if window is not None:
        OUTPUT_ARGUMENTS.whole("window", window, most=MOST_BLOCKS)
    if stdout is not None:
        OUTPUT_ARGUMENTS.whole("stdout", stdout, 0)
    return _target(target)


def _target(target: object) -> str:
    if not isinstance(target, str | os.PathLike):
        raise InvalidOutputError(f"target {shown(target)}: give a path, - or an address")
    text = os.fspath(target)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidOutputError(f"target {shown(text)}: give a path, - or an address")
    if "://" not in text and Path(text).name == "":
        raise InvalidOutputError(f"target {shown(text)} is a folder: give the name of a file in it")
    return text


def open_output(
    target: str | os.PathLike[str],
    video: VideoFormat,
    encoding: EncoderSettings | None = None,
    *,
    tags: Metadata | None = None,
    container: str | None = None,
    overwrite: bool = False,
    resume_frames: int = 0,
    segment_seconds: float | None = None,
    window: int | None = None,
    captions: Path | None = None,
    locks: OutputLocks | None = None,
    sole_output: bool = True,
    stop: Event | None = None,
    stdout: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Output:
    """Check an output and lock it; a file changes only when the first block is written.

    `target` is a file (`.mp4 .mkv .mov .ts .webm .y4m`) or a named pipe of such a name, a pattern
    of PNG pictures (`frames/%06d.png`), a playlist (`folder/live.m3u8`), `-` for standard output,
    or a URL: `tcp:// unix:// udp:// rtmp:// rtmps:// srt:// https://`.

    `kept` continues the file or the pictures of an earlier run after so many frames; they must
    bear the run's id, `tags.run`. `container` is the format of `-` and of sockets;
    `segment_seconds` begins a new file so often; `window` is how many blocks a playlist keeps;
    `captions` is the file beside a video (default: its name with `.vtt`). `locks` are those of the
    run, where several outputs share one. `alone` says that no other output is open, so that a lost
    connection ends the run instead of being tried again. `stop` ends all waiting; `stdout` is the
    descriptor that `claim_stdout` gave; `report` gets what a person should know.
    Raises InvalidOutputError for a target that cannot be used.
    """
    encoding = EncoderSettings() if encoding is None else encoding
    tags, stop = Metadata() if tags is None else tags, Event() if stop is None else stop
    target = check_request(
        target,
        video,
        encoding,
        tags,
        container=container,
        overwrite=overwrite,
        sole_output=sole_output,
        resume_frames=resume_frames,
        segment_seconds=segment_seconds,
        window=window,
        stop=stop,
        stdout=stdout,
        report=report,
    )
    encoding = fall_back_to_software(encoding, video, report)
    path, suffix, name = Path(target), Path(target).suffix.lower(), safe_text(target)
    live = target == "-" or "://" in target
    if container is not None and not live:
        raise InvalidOutputError(f"{name}: a file's name decides its format; leave the format out")
    if segment_seconds is not None and (live or suffix not in BY_SUFFIX):
        raise InvalidOutputError(f"{name}: only a video file can be cut into several")
    if window is not None and suffix != ".m3u8":
        raise InvalidOutputError(f"{name}: only a playlist (.m3u8) has a window")
    if target == "-":
        muxer = create_muxer(container or "matroska", video, encoding, tags)
        descriptor = claim_stdout() if stdout is None else stdout
        return PipeOutput(descriptor, "standard output", muxer, stop)
    if live:
        return open_address(target, video, encoding, tags, container, stop, report, sole_output)
    if suffix == ".m3u8":
        return HlsOutput(
            path,
            video,
            resolve("mp4", encoding),
            tags,
            window=window,
            overwrite=overwrite,
            resume_frames=resume_frames,
            locks=locks,
        )
    if suffix == ".png":
        if encoding != EncoderSettings():
            raise InvalidOutputError(f"{name}: pictures take no codec, crf or preset")
        return ImageSequenceOutput(
            target, video, overwrite, resume_frames, run=tags.run, locks=locks
        )
    if suffix not in BY_SUFFIX:
        raise InvalidOutputError(
            f"{name}: its ending names no format; use one of {' '.join(BY_SUFFIX)} .m3u8, a "
            "pattern such as frames/%06d.png, - for standard output, or a URL"
        )
    if is_named_pipe(path):
        if segment_seconds is not None:
            raise InvalidOutputError(f"{name}: a named pipe cannot be cut into several files")
        return NamedPipeOutput(path, create_muxer(BY_SUFFIX[suffix], video, encoding, tags), stop)

    def open_file(path: Path, kept: int, overwrite: bool) -> FileOutput:
        muxer = create_muxer(BY_SUFFIX[suffix], video, encoding, tags)
        beside = captions if segment_seconds is None else None
        return FileOutput(
            path, muxer, video, overwrite, kept, run=tags.run, captions=beside, locks=locks
        )

    if segment_seconds is not None:
        return SegmentedOutput(
            path,
            segment_seconds,
            video,
            open_file,
            overwrite,
            resume_frames,
            run=tags.run,
            locks=locks,
        )
    return open_file(path, resume_frames, overwrite)
