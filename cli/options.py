"""The options of a run as they were given on the command line, each declared once."""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePath
from typing import TYPE_CHECKING

from sana_stream.errors import ConfigError

from . import argument_types
from .live_options import DEFAULT_HOST, LiveOptions
from .model_options import ModelOptions
from .option_fields import Group, declared_options, option, read_options, switch

if TYPE_CHECKING:
    from sana_stream.engine.story.story import Story

STDOUT = "-"
PROMPTS = Group("prompts and inputs")
LENGTH = Group("length (default: 10 seconds per prompt)")
OUTPUT = Group("outputs")
SAFETY = Group("checkpoints and drift")
MESSAGES = Group("messages")


@dataclass(frozen=True, slots=True)
class Length:
    """The requested length; without any value it follows from the story."""

    minutes: float | None = option(
        "--minutes",
        group=LENGTH,
        exclusive="length",
        parse=argument_types.positive_minutes,
        metavar="N",
        help="length in minutes",
    )
    seconds: float | None = option(
        "--seconds",
        group=LENGTH,
        exclusive="length",
        parse=argument_types.positive_seconds,
        metavar="N",
        help="length in seconds",
    )
    frames: int | None = option(
        "--frames",
        group=LENGTH,
        exclusive="length",
        parse=argument_types.positive_count,
        metavar="N",
        help="length in frames",
    )
    endless: bool = switch("--endless", group=LENGTH, exclusive="length", help="run until Ctrl-C")

    def in_frames(self, story: Story, every: float | None, fps: Fraction) -> int | None:
        """The exact number of frames, `None` for an endless video."""
        from sana_stream.engine.story.timeline import frame_count

        if self.endless:
            return None
        if self.frames is not None:
            return self.frames
        if self.minutes is not None:
            return frame_count(self.minutes * 60, fps)
        return frame_count(self.seconds or _natural_seconds(story, every, fps), fps)


@dataclass(frozen=True, kw_only=True)
class Options(LiveOptions, ModelOptions):
    """The options of one run; `None` is the default of the model or the output."""

    prompts: tuple[str, ...] = option(
        "--prompt",
        group=PROMPTS,
        exclusive="prompts",
        multiple=True,
        parameters=("prompt",),
        metavar="TEXT",
        help="prompt; repeat the option for several prompts, shown one after another",
    )
    prompt_file: str | None = option(
        "--prompt-file",
        group=PROMPTS,
        exclusive="prompts",
        parse=argument_types.filled,
        parameters=("story",),
        metavar="FILE",
        help="story with prompts and times: text, WebVTT, SRT or JSON; - reads standard input",
    )
    every: float | None = option(  # seconds
        "--every",
        group=PROMPTS,
        parse=argument_types.positive_seconds,
        metavar="SECONDS",
        help="duration of each prompt without a time (default: an equal share of the length; 10 "
        "in an endless video)",
    )
    image: str | None = option(
        "--image",
        group=PROMPTS,
        exclusive="input",
        parse=argument_types.filled,
        metavar="FILE",
        help="picture that the video starts from; in a story: PROMPT<image>FILE",
    )
    video: str | None = option(
        "--video",
        group=PROMPTS,
        exclusive="input",
        parse=argument_types.filled,
        metavar="FILE",
        help="clip that the video continues",
    )
    length: Length = Length()
    outputs: tuple[str, ...] = option(
        "--out",
        group=OUTPUT,
        multiple=True,
        parse=argument_types.filled,
        metavar="OUTPUT",
        help="file (.mp4 .mkv .mov .ts .webm .y4m), PNG files (frames/%%06d.png), HLS playlist "
        "(.m3u8), - for standard output, or URL (tcp:// unix:// udp:// rtmp:// srt://); repeat "
        "the option for several (default: an .mp4 file named after the prompt file)",
    )
    overwrite: bool = switch("--overwrite", group=OUTPUT, help="replace existing files")
    container: str | None = option(
        "--format",
        group=OUTPUT,
        parse=argument_types.filled,
        metavar="NAME",
        help="container of - and of URLs, such as mpegts (default for -: matroska)",
    )
    codec: str | None = option(
        "--codec",
        group=OUTPUT,
        parse=argument_types.filled,
        metavar="NAME",
        help="h264, h265, av1, vp9 or ffv1 (default: the container's first, mostly h264)",
    )
    crf: int | None = option(
        "--crf",
        group=OUTPUT,
        parse=argument_types.quality,
        metavar="N",
        help="quality on the codec's scale, lower is better (default for h264: 18)",
    )
    preset: str | None = option(
        "--preset",
        group=OUTPUT,
        parse=argument_types.filled,
        metavar="NAME",
        help="encoder speed, such as medium (default for h264: veryfast)",
    )
    nvenc: bool = switch(
        "--nvenc",
        group=OUTPUT,
        help="encode on an NVIDIA GPU where available (h264, h265, av1)",
    )
    segment: float | None = option(  # seconds
        "--segment",
        group=OUTPUT,
        parse=argument_types.positive_duration,
        parameters=("segment_seconds",),
        metavar="TIME",
        help="start a new file after each TIME, such as 90s, 30m or 1h: NAME-0001.mp4, "
        "NAME-0002.mp4, ... (default: one file)",
    )
    window: int | None = option(  # blocks
        "--window",
        group=OUTPUT,
        parse=argument_types.positive_count,
        metavar="N",
        help="number of blocks in an HLS playlist, at least 3 (default: all)",
    )
    checkpoint_every: float = option(  # seconds, 0 for none
        "--checkpoint-every",
        group=SAFETY,
        parse=argument_types.duration,
        default=30.0,
        metavar="TIME",
        help="how often a checkpoint for sana-stream resume is written next to the video, such "
        "as 5m, or off (default: 30s)",
    )
    keep_checkpoint: bool = switch(
        "--keep-checkpoint",
        group=SAFETY,
        help="keep the checkpoint of a complete video, to branch from its end",
    )
    guard: str = option(
        "--guard",
        group=SAFETY,
        choices=("off", "warn", "anchor", "restart"),
        default="warn",
        help="what to do when frames drift far from the first ones of their prompt: print a "
        "warning, return to the memory's sink (anchor), or start again from the last good frame "
        "(restart) (default: warn)",
    )
    quiet: bool = switch("--quiet", group=MESSAGES, help="print errors only")
    debug: bool = switch("--debug", group=MESSAGES, help="print the traceback of an error")

    @classmethod
    def of(cls, args: Namespace) -> Options:
        """The options in a parsed namespace.

        Raises:
            ConfigError: options that exclude or need each other, or no prompt.
        """
        values = read_options(cls, args)
        if not values["prompts"] and values["prompt_file"] is None:
            raise ConfigError(
                'no prompt is given: add --prompt "a red boat at dusk" or --prompt-file story.txt'
            )
        values["outputs"] = values["outputs"] or (default_output(values["prompt_file"]),)
        check_outputs(values["outputs"], args.format, args.segment, args.window)
        check_live(args)
        options = cls(length=Length(**read_options(Length, args)), **values)
        if options.live and options.length == Length():
            return replace(options, length=Length(endless=True))
        return options

    @property
    def files(self) -> tuple[str, ...]:
        """The outputs by the names of their first files."""
        if self.segment is None:
            return self.outputs
        return tuple(first_segment(out) if is_video_file(out) else out for out in self.outputs)

    def story(self) -> Story:
        """The story that the prompts or the prompt file give; `StoryError` as `read_story`."""
        from sana_stream.engine.story.read import read_story
        from sana_stream.engine.story.story import Story

        if self.prompt_file is not None:
            return read_story(self.prompt_file)
        return Story.of(self.prompts)


OPTIONS = dict([*declared_options(Options), *declared_options(Length)])  # by name of the field


def check_live(args: Namespace) -> None:
    """Check the options for live control in a parsed namespace.

    Raises:
        ConfigError: options that exclude or need each other.
    """
    if args.interactive and args.prompt_file == STDOUT:
        raise ConfigError("--interactive and --prompt-file - both read standard input: give one")
    if args.watch and args.prompt_file in (None, STDOUT):
        raise ConfigError("--watch needs a prompt file: add --prompt-file story.txt")
    if args.web is None and (args.token or args.host != DEFAULT_HOST):
        raise ConfigError("--host and --token need a page: add --web")


def _natural_seconds(story: Story, every: float | None, fps: Fraction) -> float:
    """The length in seconds of a story for which none is given."""
    from sana_stream.engine.story.story import DEFAULT_SPACING_SECONDS

    spacing = DEFAULT_SPACING_SECONDS if every is None else every
    last = story.schedule(None, None if story.timed else spacing, float(fps))[-1]
    return (last.start_seconds or 0.0) + spacing


def is_live(output: str) -> bool:
    """Whether an output passes on: standard output, an address or a named pipe; not a file."""
    return is_address(output) or _is_named_pipe(output)


def is_address(output: str) -> bool:
    """Whether an output is standard output or an address, which have no format by their name."""
    return output == STDOUT or "://" in output


def is_image_pattern(output: str) -> bool:
    """Whether an output is a row of PNG pictures in a folder, such as frames/%06d.png."""
    return not is_address(output) and output.lower().endswith(".png")


def _is_named_pipe(output: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(output).st_mode)
    except (OSError, ValueError):
        return False


def check_outputs(
    outputs: tuple[str, ...], container: str | None, segment: float | None, window: int | None
) -> None:
    """Refuse outputs that do not go together, or options that none of them takes.

    Raises:
        ConfigError: which, and what to do.
    """
    for output in outputs:
        if outputs.count(output) > 1:
            raise ConfigError(f"--out {output} is given twice: once is enough")
        if not is_live(output) and PurePath(output).name in ("", ".."):
            raise ConfigError(f"--out {output} is a folder: give the name of a file in it")
    if container and not any(is_address(output) for output in outputs):
        raise ConfigError(
            f"--format {container} is for --out - and for addresses: "
            "the name of a file decides its format"
        )
    if segment and not any(is_video_file(output) for output in outputs):
        raise ConfigError("--segment is for video files: give one, such as --out film.mp4")
    if window and not any(is_playlist(output) for output in outputs):
        raise ConfigError("--window is for playlists: give one, such as --out live/live.m3u8")


def is_playlist(output: str) -> bool:
    """Whether an output is a playlist with its segments."""
    return not is_live(output) and output.lower().endswith(".m3u8")


def is_video_file(output: str) -> bool:
    """Whether an output is one file that holds the video."""
    return not is_live(output) and not output.lower().endswith((".m3u8", ".png"))


def first_segment(output: str) -> str:
    """The name of the first file of a video that is cut into several."""
    path = PurePath(output)
    return str(path.with_stem(f"{path.stem}-0001"))


def default_output(prompt_file: str | None) -> str:
    """The video's name where none is given: that of the prompt file, in the current folder."""
    if prompt_file is None or prompt_file == "-":
        return "sana-stream.mp4"
    return f"{PurePath(prompt_file).stem}.mp4"
