"""Opening the output that a path or an address names."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

from sana_stream._arguments import OUTPUT_ARGUMENTS, shown
from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.encoder import fall_back_to_software
from sana_stream.streaming.containers.registry import BY_SUFFIX, CONTAINERS, create_muxer
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec

from .addresses import open_address
from .base import Output
from .file import FileOutput
from .hls import HlsOutput
from .images import ImageSequenceOutput
from .locks import OutputLocks
from .options import OutputOptions
from .pipe import NamedPipeOutput, PipeOutput, claim_stdout
from .segmented import SegmentedOutput
from .signing import SIGNED_SUFFIXES
from .targets import STDOUT, is_address, is_named_pipe


def open_output(
    target: str | os.PathLike[str],
    spec: StreamSpec,
    options: OutputOptions | None = None,
    *,
    locks: OutputLocks | None = None,
    stop: Event | None = None,
    stdout: int | None = None,
) -> Output:
    """Check an output and lock it; files change only when the first block is written.

    Trouble that does not end the output, such as a lost connection, is logged as a warning.

    Args:
        target: a file (`.mp4 .mkv .mov .ts .webm .y4m`) or a named pipe of such a name, a pattern
            of PNG pictures (`frames/%06d.png`), a playlist (`folder/live.m3u8`), `-` for standard
            output, or a URL: `tcp:// unix:// udp:// rtmp:// rtmps:// http:// https:// whip://
            whips:// srt:// rist://`; `http://` and `https://` with `?whip` are WHIP.
        spec: the format, the encoder settings and the metadata of the stream.
        options: the settings of this output; None: a new output, written from its first frame.
        locks: the locks of the run, where several outputs share them.
        stop: ends all waiting for readers.
        stdout: the descriptor that `claim_stdout` returned; None: claim standard output now.

    Raises:
        InvalidOutputError: the output cannot be opened as requested.
    """
    name = _check_target(target)
    options = OutputOptions() if options is None else options
    stop = Event() if stop is None else stop
    _check_types(spec, options, stop, stdout)
    _check_options(name, options)
    spec = fall_back_to_software(spec)
    if name == STDOUT:
        muxer = create_muxer(options.container or "matroska", spec)
        descriptor = claim_stdout() if stdout is None else stdout
        return PipeOutput(descriptor, "standard output", muxer, stop)
    if is_address(name):
        return open_address(name, spec, options, stop)
    return _open_path(name, spec, options, locks, stop)


def holds_sound(target: str, container: str | None = None) -> bool:
    """Whether an output can have sound; `container` is as in `OutputOptions`."""
    if not is_address(target):
        suffix = Path(target).suffix.lower()
        return suffix == ".m3u8" or CONTAINERS[BY_SUFFIX.get(suffix, "rawvideo")].audio is not None
    kind = CONTAINERS.get(container or "matroska")  # all defaults have some
    return kind is not None and kind.audio is not None


def _open_path(
    name: str, spec: StreamSpec, options: OutputOptions, locks: OutputLocks | None, stop: Event
) -> Output:
    path, suffix = Path(name), Path(name).suffix.lower()
    if suffix == ".m3u8":
        return HlsOutput(path, spec, options, locks)
    if suffix == ".png":
        if spec.encoder != EncoderSettings():
            raise InvalidOutputError(
                f"{safe_text(name)}: PNG files take no codec, crf or preset; leave them out"
            )
        return ImageSequenceOutput(name, spec, options, locks)
    if suffix not in BY_SUFFIX:
        raise InvalidOutputError(
            f"{safe_text(name)}: its ending names no format; use one of {' '.join(BY_SUFFIX)}"
            " .m3u8, a pattern such as frames/%06d.png, - for standard output, or a URL"
        )
    if is_named_pipe(name):
        if options.segment_seconds is not None:
            raise InvalidOutputError(
                f"{safe_text(name)}: a named pipe cannot be cut into several files"
            )
        return NamedPipeOutput(path, create_muxer(BY_SUFFIX[suffix], spec), stop)
    if options.segment_seconds is not None:
        return SegmentedOutput(path, spec, options, options.segment_seconds, locks)
    return FileOutput(path, spec, options, locks)


def _check_target(target: object) -> str:
    if not isinstance(target, str | os.PathLike):
        raise InvalidOutputError(f"target {shown(target)}: give a path, - or an address")
    text = os.fspath(target)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidOutputError(f"target {shown(text)}: give a path, - or an address")
    if not is_address(text) and Path(text).name == "":
        raise InvalidOutputError(f"target {shown(text)} is a folder: give the name of a file in it")
    return text


def _check_types(spec: object, options: object, stop: object, stdout: object) -> None:
    for name, value, kind in (
        ("spec", spec, StreamSpec),
        ("options", options, OutputOptions),
        ("stop", stop, Event),
    ):
        if not isinstance(value, kind):
            raise InvalidOutputError(f"{name} {shown(value)}: give a {kind.__name__}")
    if stdout is not None:
        OUTPUT_ARGUMENTS.whole("stdout", stdout, 0)


def _check_options(target: str, options: OutputOptions) -> None:
    """Refuse options that an output of this kind does not have."""
    suffix, name = Path(target).suffix.lower(), safe_text(target)
    is_stream = is_address(target)
    if options.container is not None and not is_stream:
        raise InvalidOutputError(
            f"{name}: a file's name decides its format; leave container={options.container!r} out"
        )
    if options.segment_seconds is not None and (is_stream or suffix not in BY_SUFFIX):
        raise InvalidOutputError(f"{name}: only a video file can be cut into several")
    if options.sign is not None and (is_stream or suffix not in SIGNED_SUFFIXES):
        raise InvalidOutputError(
            f"{name}: only {' and '.join(SIGNED_SUFFIXES)} files can be signed"
        )
    if options.window is not None and suffix != ".m3u8":
        raise InvalidOutputError(f"{name}: only a playlist (.m3u8) has a window")
