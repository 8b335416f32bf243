"""Opening the outputs of a run, before anything heavy is loaded."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from sana_stream._files import expand_user
from sana_stream._text import safe_text
from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.targets import (
    STDOUT,
    is_address,
    is_image_pattern,
    is_live,
    is_playlist,
    is_video_file,
)

from .checkpoint_files import checkpoint_path
from .config import RunConfig
from .messages import NO_MARK, format_bytes
from .output_files import caption_files, check_apart
from .plan import RunPlan

if TYPE_CHECKING:
    from sana_stream.streaming.audio import AudioTrack
    from sana_stream.streaming.outputs.base import Output
    from sana_stream.streaming.outputs.locks import OutputLocks
    from sana_stream.streaming.video_format import Metadata

logger = logging.getLogger(__name__)
LEAST_SPACE = 8 << 20  # bytes; with less, a video would end before it shows anything


@contextmanager
def open_outputs(
    plan: RunPlan,
    locks: OutputLocks,
    stop: Event,
    stdout: int | None = None,
    audio: AudioTrack | None = None,
) -> Iterator[Sequence[Output]]:
    """Check and lock every output of a run; they are closed at the end of the context.

    Files change only when the first block is written. An output that gets no frame leaves nothing
    behind, and existing files as they were.

    Args:
        plan: of the run.
        locks: of the run.
        stop: set when the run is to stop; ends all waiting.
        stdout: the descriptor that `claim_stdout` returned, where an output is standard output.
        audio: the sound of the outputs that can have some.

    Raises:
        InvalidOutputError: an output that cannot be opened.
        ConfigError: outputs that write the same file, or a file that the run reads.
        OSError: the disk is full.
    """
    from sana_stream.streaming.outputs.open import holds_sound, open_output
    from sana_stream.streaming.outputs.options import OutputOptions
    from sana_stream.streaming.video_format import EncoderSettings, StreamSpec

    config = plan.config
    check_apart(config.targets, config.segment is not None)
    check_inputs_stay(config, plan.story)
    for target in config.targets:
        if not is_live(target):
            check_disk_space(target)
    encoder = EncoderSettings(
        config.codec, config.crf, config.preset, config.nvenc, config.bit_depth
    )
    spec = StreamSpec(plan.video_format, encoder, metadata_of(plan), audio)
    captions = caption_files(config.targets)
    sign = None if config.sign is None else expand_user(config.sign)
    if sign is not None and not any(map(_can_be_signed, config.targets)):
        raise ConfigError("sign= is for .mp4 and .mov files: give one, outputs=['film.mp4']")
    if not config.mark:
        logger.warning("%s", NO_MARK)
    with ExitStack() as opened:
        outputs: list[Output] = []
        for target in config.targets:
            settings = OutputOptions(
                container=config.container if is_address(target) else None,
                overwrite=config.overwrite,
                resume_frames=plan.origin.frames,
                segment_seconds=config.segment if is_video_file(target) else None,
                window=config.window if is_playlist(target) else None,
                longest_block=plan.blocks.longest_block,
                captions=captions.get(target),
                sign=sign if _can_be_signed(target) else None,
                sole_output=len(config.targets) == 1 and config.web is None,
            )
            sound = spec.audio if holds_sound(target, config.container) else None
            own = replace(spec, audio=sound)
            output = open_output(target, own, settings, locks=locks, stop=stop, stdout=stdout)
            opened.callback(output.close)
            outputs.append(output)
        yield outputs


def _can_be_signed(target: str) -> bool:
    from sana_stream.streaming.outputs.signing import SIGNED_SUFFIXES

    return is_video_file(target) and target.lower().endswith(SIGNED_SUFFIXES)


def audio_of(config: RunConfig) -> AudioTrack | None:
    """The sound of a run's outputs and of its page.

    Raises:
        InvalidOutputError: the file has no sound.
        ConfigError: no output can hold sound.
    """
    if config.audio is None:
        return None
    from sana_stream.streaming.audio import AudioLoop, AudioTrack
    from sana_stream.streaming.outputs.base import redact_url
    from sana_stream.streaming.outputs.open import holds_sound

    silent = [out for out in config.targets if not holds_sound(out, config.container)]
    if len(silent) == len(config.targets) and config.web is None:
        raise ConfigError(
            "audio= needs an output that can have sound: give one such as outputs=['film.mp4'];"
            " uncompressed video and PNG files have none"
        )
    track = AudioTrack(AudioLoop(expand_user(config.audio)))
    for output in silent:
        logger.warning(
            "%s: has no sound, as all uncompressed video and PNG files", redact_url(output)
        )
    return track


def metadata_of(plan: RunPlan) -> Metadata:
    """What is written into a file about how it was made."""
    from sana_stream.streaming.video_format import Metadata

    config = plan.config
    return Metadata(config.title, plan.prompts, config.seed, plan.id, plan.model_name, config.mark)


def check_inputs_stay(config: RunConfig, story: Story) -> None:
    """Refuse an output that would replace a file which the run reads.

    Raises:
        ConfigError: which output, and which file.
    """
    read = {
        "the prompt file": config.prompt_file,
        "the picture": config.image,
        "the clip": config.video,
        "the model": config.model,
        "the model's parts": config.parts,
        "the certificate": None if config.sign is None else str(config.sign),
        "the audio file": None if config.audio is None else str(config.audio),
        "the decoder": (config.decoder or "").partition("=")[2] or None,
    }
    inputs = [(what, path) for what, path in read.items() if path not in (None, STDOUT)]
    inputs += [("the LoRA", path) for path, _ in config.loras]
    inputs += [("a picture of the story", cue.image) for cue in story.cues if cue.image]
    for output in config.targets:
        for what, path in inputs:
            if not is_live(output) and path and _would_replace(output, Path(path), config):
                raise ConfigError(
                    f"outputs={[safe_text(output)]!r} would write over {what} {safe_text(path)}: "
                    "give another name"
                )


def _would_replace(output: str, path: Path, config: RunConfig) -> bool:
    """Whether an output, or a file that is written next to it, has the place of an input."""
    try:
        if not path.is_file():
            return False
        if _is_numbered(output, path, config):
            return True
        if is_image_pattern(output):
            return False
        written = [Path(output), Path(output).with_suffix(".vtt"), Path(output + ".vtt")]
        if (checkpoint := checkpoint_path([output])) is not None:
            written.append(checkpoint)
        return any(each.exists() and each.samefile(path) for each in written)
    except (OSError, ValueError):
        return False


def _is_numbered(output: str, path: Path, config: RunConfig) -> bool:
    """Whether a file has the name of a numbered one that an output writes, or that it removes as
    one of an earlier run."""
    folder = Path(output).parent.resolve()
    names = [each.name for each in (path, path.resolve()) if each.parent.resolve() == folder]
    patterns = _numbered_names(output, config)
    return any(re.fullmatch(pattern, name) for pattern in patterns for name in names)


def _numbered_names(output: str, config: RunConfig) -> Iterator[str]:
    """Patterns of the names of an output's numbered files."""
    path = Path(output)
    if is_image_pattern(output):
        before, _, after = re.sub(r"%(0\d+)?d", "\0", path.name).partition("\0")
        yield re.escape(before) + r"\d+" + re.escape(after)
    elif is_playlist(output):
        yield r"segment\d+\.m4s|init\.mp4"
    elif config.segment is not None:
        yield rf"{re.escape(path.stem)}-\d+(?:{re.escape(path.suffix)}|\.vtt)"


def check_disk_space(output: str) -> None:
    """Refuse a file on a full disk.

    Raises:
        OSError: less than 8 MiB are free in the file's folder.
    """
    folder = Path(output).parent
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < LEAST_SPACE:
        raise OSError(
            f"{safe_text(output)}: only {format_bytes(free)} are free there: make room or choose"
            " another folder"
        )


def recording_of(config: RunConfig) -> Path | None:
    """The file that holds the whole video, if there is one."""
    if config.segment is not None:
        return None
    return next((Path(output) for output in config.targets if is_video_file(output)), None)
