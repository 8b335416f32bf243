"""Opening what the video goes to, before anything heavy is loaded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.cli.console import megabytes
from sana_stream.cli.options import (
    STDOUT,
    Options,
    first_segment,
    is_address,
    is_image_pattern,
    is_live,
    is_playlist,
    is_video_file,
)
from sana_stream.engine.story.story import IMAGE_MARK, Story
from sana_stream.errors import ConfigError

from .checkpoint_files import checkpoint_path
from .config import Job, Request
from .output_files import caption_files, check_apart

if TYPE_CHECKING:
    from sana_stream.streaming.outputs.base import Output
    from sana_stream.streaming.outputs.locks import OutputLocks
    from sana_stream.streaming.outputs.pump import OutputPump
    from sana_stream.streaming.web.live_feed import LiveFeed

LEAST_SPACE = 8 << 20  # bytes; with less, a video would end before it shows anything


class PreparedOutputs:
    """The outputs of a run, checked and locked; nothing has been written yet."""

    def __init__(self, outputs: list[Output]) -> None:
        self._outputs = outputs

    @contextmanager
    def started(self, feed: LiveFeed | None = None) -> Iterator[OutputPump]:
        """All of them and the page's feed, fed by one pump and completed at the end."""
        from sana_stream.streaming.outputs.pump import OutputPump

        outputs = self._outputs if feed is None else [feed, *self._outputs]
        with OutputPump(outputs) as pump:
            yield pump


@contextmanager
def prepare_outputs(
    job: Job,
    request: Request,
    locks: OutputLocks,
    stop: Event,
    stdout: int | None,
    recording: Output | None = None,
) -> Iterator[PreparedOutputs]:
    """Check every output of a run and lock it, before anything heavy is loaded.

    Files change only when the first block comes; an output that gets no frame leaves nothing
    behind, and what was there before it as it was. Raises `InvalidOutputError` or `ConfigError` for
    an output that cannot be used.
    """
    from sana_stream.streaming.outputs.open import open_output
    from sana_stream.streaming.outputs.options import OutputOptions
    from sana_stream.streaming.video_format import (
        EncoderSettings,
        Metadata,
        StreamSpec,
        VideoFormat,
    )

    options = job.options
    check_apart(options.outputs, options.segment is not None)
    check_inputs_stay(options, job.story)
    for output in options.outputs:
        if not is_live(output):
            check_disk_space(output)
    spec = StreamSpec(
        VideoFormat(request.width, request.height, request.fps),
        EncoderSettings(options.codec, options.crf, options.preset, options.nvenc),
        Metadata(title(options), prompts_of(request), request.seed, job.id),
    )
    captions = caption_files(options.outputs)
    with ExitStack() as opened:
        outputs: list[Output] = []
        if recording is not None:
            opened.callback(recording.close)
            outputs.append(recording)
        for target in options.outputs:
            settings = OutputOptions(
                container=options.container if is_address(target) else None,
                overwrite=options.overwrite,
                resume_frames=job.kept,
                segment_seconds=options.segment if is_video_file(target) else None,
                window=options.window if is_playlist(target) else None,
                captions=captions.get(target),
                sole_output=len(options.outputs) == 1 and options.web is None,
            )
            output = open_output(target, spec, settings, locks=locks, stop=stop, stdout=stdout)
            opened.callback(output.close)
            outputs.append(output)
        yield PreparedOutputs(outputs)


def check_inputs_stay(options: Options, story: Story) -> None:
    """Refuse an output that would replace a file which the run reads.

    Raises:
        ConfigError: which output, and which file.
    """
    read = {
        "the prompt file": options.prompt_file,
        "the picture": options.image,
        "the clip": options.video,
        "the model": options.model,
        "the model's parts": options.parts,
        "the decoder": (options.decoder or "").partition("=")[2] or None,
    }
    inputs = [(what, path) for what, path in read.items() if path not in (None, STDOUT)]
    inputs += [("the LoRA", path) for path, _ in options.loras]
    inputs += [("a picture of the story", cue.image) for cue in story.cues if cue.image]
    for output in options.outputs:
        for what, path in inputs:
            if not is_live(output) and path and _would_replace(output, Path(path), options):
                raise ConfigError(
                    f"--out {safe_text(output)} would write over {what} {safe_text(path)}: "
                    "give another name"
                )


def _would_replace(output: str, path: Path, options: Options) -> bool:
    """Whether an output, or what is written beside it, has the place of a file that is read."""
    try:
        if not path.is_file():
            return False
        if is_image_pattern(output):
            same_folder = path.parent.resolve() == Path(output).parent.resolve()
            return same_folder and _is_of_pattern(path.name, Path(output).name)
        written = [Path(output), Path(output).with_suffix(".vtt"), Path(output + ".vtt")]
        if (checkpoint := checkpoint_path([output])) is not None:
            written.append(checkpoint)
        if options.segment is not None:
            written.append(Path(first_segment(output)))
        return any(each.exists() and each.samefile(path) for each in written)
    except (OSError, ValueError):
        return False


def _is_of_pattern(name: str, pattern: str) -> bool:
    before, _, after = re.sub(r"%(0\d+)?d", "\0", pattern).partition("\0")
    return re.fullmatch(re.escape(before) + r"\d+" + re.escape(after), name) is not None


def check_disk_space(output: str) -> None:
    """Refuse a file on a full disk."""
    folder = Path(output).parent
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < LEAST_SPACE:
        raise OSError(
            f"{safe_text(output)}: only {megabytes(free)} are free there: make room or choose"
            " another folder"
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
