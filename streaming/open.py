"""From what a user writes after `--out` to the output it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

from sana_stream._text import safe_text

from .addresses import open_address
from .containers import BY_SUFFIX, make_muxer
from .errors import TargetError
from .file import FileSink
from .format import Encoding, Tags, VideoFormat
from .hardware import without_absent_hardware
from .hls import HlsSink
from .images import ImageSink
from .output_lock import OutputLocks
from .pipe import NamedPipeSink, PipeSink, is_named_pipe
from .segments import SegmentedSink
from .sink import Sink
from .stdout import claim_stdout


def open_sink(
    target: str,
    video: VideoFormat,
    encoding: Encoding | None = None,
    *,
    tags: Tags | None = None,
    container: str | None = None,
    overwrite: bool = False,
    kept: int = 0,
    segment_seconds: float | None = None,
    window: int | None = None,
    captions: Path | None = None,
    locks: OutputLocks | None = None,
    alone: bool = True,
    stop: Event | None = None,
    stdout: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Sink:
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
    Raises TargetError for a target that cannot be used.
    """
    encoding, tags, stop = encoding or Encoding(), tags or Tags(), stop or Event()
    encoding = without_absent_hardware(encoding, video, report)
    path, suffix, name = Path(target), Path(target).suffix.lower(), safe_text(target)
    live = target == "-" or "://" in target
    if container is not None and not live:
        raise TargetError(f"{name}: a file's name decides its format; leave the format out")
    if segment_seconds is not None and (live or suffix not in BY_SUFFIX):
        raise TargetError(f"{name}: only a video file can be cut into several")
    if window is not None and suffix != ".m3u8":
        raise TargetError(f"{name}: only a playlist (.m3u8) has a window")
    if target == "-":
        muxer = make_muxer(container or "matroska", video, encoding, tags)
        descriptor = claim_stdout() if stdout is None else stdout
        return PipeSink(descriptor, "standard output", muxer, stop)
    if live:
        return open_address(target, video, encoding, tags, container, stop, report, alone)
    if suffix == ".m3u8":
        return HlsSink(
            path,
            video,
            encoding,
            tags,
            window=window,
            overwrite=overwrite,
            kept=kept,
            locks=locks,
        )
    if suffix == ".png":
        if encoding != Encoding():
            raise TargetError(f"{name}: pictures take no codec, crf or preset")
        return ImageSink(target, video, overwrite, kept, run=tags.run, locks=locks)
    if suffix not in BY_SUFFIX:
        raise TargetError(
            f"{name}: its ending names no format; use one of {' '.join(BY_SUFFIX)} .m3u8, a "
            "pattern such as frames/%06d.png, - for standard output, or a URL"
        )
    if is_named_pipe(path):
        if segment_seconds is not None:
            raise TargetError(f"{name}: a named pipe cannot be cut into several files")
        return NamedPipeSink(path, make_muxer(BY_SUFFIX[suffix], video, encoding, tags), stop)

    def open_file(path: Path, kept: int, overwrite: bool) -> FileSink:
        muxer = make_muxer(BY_SUFFIX[suffix], video, encoding, tags)
        beside = captions if segment_seconds is None else None
        return FileSink(
            path, muxer, video, overwrite, kept, run=tags.run, captions=beside, locks=locks
        )

    if segment_seconds is not None:
        return SegmentedSink(
            path, segment_seconds, video, open_file, overwrite, kept, run=tags.run, locks=locks
        )
    return open_file(path, kept, overwrite)
