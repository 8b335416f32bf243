"""Opening what the video goes to, before anything heavy is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ..engine.story import IMAGE_MARK
from ..models.errors import ConfigError
from .options import STDOUT, Options, is_live, is_playlist, is_video_file
from .request import Request
from .words import megabytes

if TYPE_CHECKING:
    from ..streaming.feed import LiveFeed
    from ..streaming.pump import Pump
    from ..streaming.sink import Sink

LEAST_SPACE = 8 << 20  # bytes; with less, a video would end before it shows anything


@contextmanager
def open_outputs(
    options: Options,
    request: Request,
    stop: Event,
    stdout: int | None,
    report: Callable[[str], None],
    kept: int = 0,
    feed: LiveFeed | None = None,
    recording: Sink | None = None,
) -> Iterator[Pump]:
    """Every output of a run, the page's feed and a server's recording, fed by one pump and
    completed at the end.

    With `kept`, files go on after so many frames of an earlier run. An output that gets no frame
    leaves nothing behind. Raises `TargetError` or `ConfigError` for an output that cannot be used.
    """
    from ..streaming.format import Encoding, Tags, VideoFormat
    from ..streaming.open import open_sink
    from ..streaming.pump import Pump

    for output in options.outputs:
        if not is_live(output):
            check_file(output, None if kept else options.prompt_file)
    video = VideoFormat(request.width, request.height, request.fps)
    encoding = Encoding(options.codec, options.crf, options.preset, options.nvenc)
    with ExitStack() as opened:
        sinks: list[Sink] = [] if feed is None else [feed]
        if recording is not None:
            opened.callback(recording.close)
            sinks.append(recording)
        for output in options.outputs:
            sink = open_sink(
                output,
                video,
                encoding,
                tags=Tags(title(options), prompts_of(request), request.seed),
                container=options.container if is_live(output) else None,
                overwrite=options.overwrite,
                kept=kept,
                segment_seconds=options.segment if is_video_file(output) else None,
                window=options.window if is_playlist(output) else None,
                alone=len(options.outputs) == 1 and feed is None,
                stop=stop,
                stdout=stdout,
                report=report,
            )
            opened.callback(sink.close)
            sinks.append(sink)
        with Pump(sinks, report) as pump:
            opened.pop_all()  # from here on the pump closes them
            yield pump


def check_file(output: str, prompt_file: str | None) -> None:
    """Refuse a file that would replace the prompt file, or one on a full disk."""
    path = Path(output)
    if prompt_file not in (None, STDOUT):
        for written in (path, path.with_suffix(".vtt")):
            if written.exists() and written.samefile(prompt_file):
                raise ConfigError(
                    f"--out {output} would write over the prompt file {prompt_file}: "
                    "give another name"
                )
    if path.parent.is_dir() and (free := shutil.disk_usage(path.parent).free) < LEAST_SPACE:
        raise OSError(
            f"{output}: only {megabytes(free)} are free there: make room or choose another folder"
        )


def recording(options: Options) -> Path | None:
    """The file that holds the whole video, if there is one."""
    if options.segment is not None:
        return None
    return next((Path(output) for output in options.outputs if is_video_file(output)), None)


def title(options: Options) -> str:
    """What the video is called in its own data."""
    if options.prompt_file in (None, STDOUT):
        return options.prompts[0].partition(IMAGE_MARK)[0] if options.prompts else ""
    return Path(str(options.prompt_file)).stem


def prompts_of(request: Request) -> tuple[str, ...]:
    """The prompts of a run, as a file's own data names them."""
    return tuple(cue.prompt for cue in request.timeline.cues)
