"""From what a user writes after `--out` to the output it names."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from .containers import BY_SUFFIX, make_muxer
from .errors import TargetError
from .file import FileSink
from .format import Encoding, Tags, VideoFormat
from .images import ImageSink
from .pipe import PipeSink
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
    stop: Event | None = None,
    stdout: int | None = None,
) -> Sink:
    """Open an output and check that it can be written.

    `target` is a file (`.mp4 .mkv .mov .ts .webm .y4m`), a pattern of PNG pictures
    (`frames/%06d.png`) or `-` for standard output. `container` is the format of `-`, Matroska if
    not given. `stop` ends waiting for a reader that takes nothing; `stdout` is the descriptor
    that `claim_stdout` gave. Raises TargetError for a target that cannot be used.
    """
    encoding, tags, stop = encoding or Encoding(), tags or Tags(), stop or Event()
    if target == "-":
        muxer = make_muxer(container or "matroska", video, encoding, tags)
        descriptor = claim_stdout() if stdout is None else stdout
        return PipeSink(descriptor, "standard output", muxer, stop)
    if container is not None:
        raise TargetError(f"{target}: a format is for standard output; a file's name decides it")
    path = Path(target)
    if path.suffix.lower() == ".png":
        if encoding != Encoding():
            raise TargetError(f"{target}: pictures take no codec, crf or preset")
        return ImageSink(target, video, overwrite)
    if path.suffix.lower() not in BY_SUFFIX:
        known = " ".join(BY_SUFFIX)
        raise TargetError(
            f"{target}: its ending names no format; use one of {known}, a pattern such as "
            "frames/%06d.png, or - for standard output"
        )
    muxer = make_muxer(BY_SUFFIX[path.suffix.lower()], video, encoding, tags)
    return FileSink(path, muxer, video, overwrite)
