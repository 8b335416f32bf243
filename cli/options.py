"""The options of a run as they were given on the command line, each declared once."""

from __future__ import annotations

from argparse import BooleanOptionalAction, Namespace
from dataclasses import dataclass, replace

from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.default_name import default_output
from sana_stream.streaming.outputs.targets import STDOUT, check_outputs

from . import argument_types
from .live_options import DEFAULT_HOST, LiveOptions
from .log_format import FORMATS
from .model_options import ModelOptions
from .option_fields import Group, declared_options, option, read_options, switch

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
        help="prompt; repeat the option for several prompts, shown one after another; '~4 TEXT' "
        "blends one in over 4 blocks; the option can be left out for a single one",
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
        "(.m3u8), - for standard output, or URL (tcp:// unix:// udp:// rtmp:// whip:// srt://); "
        "repeat the option for several (default: a new .mp4 file named after the prompt file or "
        "prompt)",
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
        help="h264, h265, av1, vp9 or ffv1; in .mov also prores or dnxhr (default: the "
        "container's first, mostly h264)",
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
        help="encoder speed, such as medium (default for h264: veryfast); the profile of prores "
        "(proxy, lt, standard, hq) and dnxhr (lb, sq, hq, hqx)",
    )
    nvenc: bool = switch(
        "--nvenc",
        group=OUTPUT,
        help="encode on an NVIDIA GPU where available (h264, h265, av1)",
    )
    bit_depth: int | None = option(
        "--bit-depth",
        group=OUTPUT,
        parse=argument_types.positive_count,
        metavar="N",
        help="bits per colour channel, 8 or 10; 10 for h265 and av1 (default: 8; prores and "
        "dnxhr: 10)",
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
    mark: bool = option(
        "--mark",
        group=OUTPUT,
        action=BooleanOptionalAction,
        default=True,
        help="mark every output as generated, with the model, the seed and the prompts (default: "
        "on, as EU law requires)",
    )
    audio: str | None = option(
        "--audio",
        group=OUTPUT,
        parse=argument_types.filled,
        metavar="FILE",
        help="audio file that becomes the sound, cut or repeated to the video's length",
    )
    sign: str | None = option(
        "--sign",
        group=OUTPUT,
        parse=argument_types.filled,
        metavar="CERT",
        help="sign finished .mp4 and .mov files (C2PA) with a PEM file that holds a certificate "
        "and its private key; needs sana-stream[sign]",
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
    log_format: str = option(
        "--log-format",
        group=MESSAGES,
        choices=FORMATS,
        default="text",
        help="lines on standard error as text, or as json: one object a line (default: text)",
    )
    debug: bool = switch("--debug", group=MESSAGES, help="print the traceback of an error")

    @classmethod
    def of(cls, args: Namespace) -> Options:
        """The options in a parsed namespace.

        Raises:
            ConfigError: options that exclude or need each other, or no prompt.
        """
        check_story(args)
        values = read_options(cls, args)
        values["outputs"] = values["outputs"] or (
            default_output(values["prompt_file"], values["prompts"], values["overwrite"]),
        )
        check_outputs(values["outputs"], args.format, args.segment, args.window)
        check_live(args)
        check_checkpoint(args)
        options = cls(length=Length(**read_options(Length, args)), **values)
        if options.live and options.length == Length():
            return replace(options, length=Length(endless=True))
        return options


OPTIONS = dict([*declared_options(Options), *declared_options(Length)])  # by name of the field


def check_story(args: Namespace) -> None:
    """Check that a parsed namespace gives a prompt or a prompt file; raises ConfigError."""
    if not args.prompt and args.prompt_file is None:
        raise ConfigError(
            'no prompt is given: add --prompt "a red boat at dusk" or --prompt-file story.txt'
        )


def check_live(args: Namespace) -> None:
    """Check the options for live control in a parsed namespace.

    Raises:
        ConfigError: options that exclude or need each other.
    """
    if args.interactive and getattr(args, "prompt_file", None) == STDOUT:
        raise ConfigError("--interactive and --prompt-file - both read standard input: give one")
    if args.watch and getattr(args, "prompt_file", "") in (None, STDOUT):
        raise ConfigError("--watch needs a prompt file: add --prompt-file story.txt")
    if args.web is None and (args.token or args.host != DEFAULT_HOST):
        raise ConfigError("--host and --token need a page: add --web")
    live = args.interactive or args.watch or args.web is not None
    if not live and args.history != OPTIONS["history"].arguments["default"]:
        raise ConfigError("--history is how far /back rewinds: add --interactive or --web")


def check_checkpoint(args: Namespace) -> None:
    """Check the options for checkpoints in a parsed namespace.

    Raises:
        ConfigError: options that exclude each other.
    """
    if args.keep_checkpoint and not args.checkpoint_every:
        raise ConfigError(
            "--keep-checkpoint keeps what --checkpoint-every off does not write: leave one of them"
            " out"
        )
