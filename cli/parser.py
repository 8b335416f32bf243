"""The options of the command line and their help."""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from typing import Any, NoReturn

from sana_stream._text import safe_text

from . import argument_types
from .live_options import add_live

USAGE_ERROR = 2

EXAMPLES = """\
examples:
  sana-stream --prompt "a red boat at dusk"
  sana-stream --prompt-file story.txt --minutes 1
  sana-stream --prompt-file story.txt --minutes 10 --size 832x480 --model ~/LongSANA
  sana-stream --prompt "a balloon" --prompt "a train" --endless --every 20 --out tower.mkv
  sana-stream --prompt "a kite" --seconds 20 --out - | ffplay -autoexit -i -
  sana-stream --prompt "a harbour at dawn" --web

a prompt file has one prompt a line; a line may begin with its time:
  A red fox runs through deep snow
  0:12 The fox stops and looks around
  0:30 Night falls

The video plays while it is made, and whatever happens, what is on disk plays. Ctrl-C finishes the
block and closes the file; Ctrl-C again stops at once.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest option for one that is unknown."""

    def error(self, message: str) -> NoReturn:
        told = safe_text(message.removeprefix("argument "), 400)
        self.exit(USAGE_ERROR, f"{self.prog}: {told}\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Unlike the library's, this one does not hide that help could not be written."""
        if message:
            (file or sys.stderr).write(message)

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """The options in `argv`; exits for `--help`, `--version` and anything not understood."""
        parsed, rest = self.parse_known_args(argv)
        if rest:
            self.error(self._not_understood(rest))
        return parsed

    def _not_understood(self, rest: list[str]) -> str:
        option = next((word for word in rest if word.startswith("-")), None)
        if option is None:
            word = safe_text(rest[0], 80)
            return f'"{word}" belongs to no option: for a prompt write --prompt "{word}"'
        known = [name for action in self._actions for name in action.option_strings]
        name = option.partition("=")[0][:200]
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else "--help lists what there is"
        return f"{safe_text(name, 80)} is not an option: {hint}"


def build_parser(version: str, commands: str = "") -> Parser:
    """The parser of `sana-stream`; `commands` is what `--help` says of the other commands."""
    parser = Parser(
        prog="sana-stream",
        usage="sana-stream --prompt TEXT | --prompt-file FILE [options]",
        description="Make a long video from prompts, block by block, in fixed memory.",
        epilog=f"{EXAMPLES}\n{commands}",
        formatter_class=_formatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_beginning(add_story(parser))
    add_length(parser)
    add_outputs(parser)
    add_live(parser)
    add_picture(parser)
    add_model(parser)
    add_safety(parser)
    _add_talk(parser, version)
    return parser


def command_parser(name: str, summary: str) -> Parser:
    """An empty parser for `sana-stream NAME`, with the options that all commands have."""
    parser = Parser(
        prog=f"sana-stream {name}",
        description=f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=96)


def add_story(parser: Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("what is to be seen")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="a prompt; give it several times for prompts that follow one another",
    )
    source.add_argument(
        "--prompt-file",
        type=argument_types.filled,
        metavar="FILE",
        help="a story: text, WebVTT, SRT or JSON; - reads standard input",
    )
    group.add_argument(
        "--every",
        type=argument_types.positive_seconds,
        metavar="SECONDS",
        help="how long each prompt without a time holds (default: an even share of the length)",
    )
    return group


def _add_beginning(group: argparse._ArgumentGroup) -> None:
    beginning = group.add_mutually_exclusive_group()
    beginning.add_argument(
        "--image",
        type=argument_types.filled,
        metavar="FILE",
        help="the picture that the video begins with; in a story: PROMPT<image>FILE",
    )
    beginning.add_argument(
        "--video",
        type=argument_types.filled,
        metavar="FILE",
        help="a clip that the video goes on from",
    )


def add_length(parser: Parser) -> None:
    group = parser.add_argument_group("how long (default: 10 seconds a prompt)")
    length = group.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=argument_types.positive_minutes, metavar="N")
    length.add_argument("--seconds", type=argument_types.positive_seconds, metavar="N")
    length.add_argument("--frames", type=argument_types.positive_count, metavar="N")
    length.add_argument("--endless", action="store_true", help="until Ctrl-C")


def add_outputs(parser: Parser) -> None:
    group = parser.add_argument_group("where the video goes")
    group.add_argument(
        "--out",
        type=argument_types.filled,
        action="append",
        metavar="OUTPUT",
        help="a file (.mp4 .mkv .mov .ts .webm .y4m), pictures (frames/%%06d.png), a playlist "
        "(.m3u8), - for standard output, or an address (tcp:// unix:// udp:// rtmp:// srt://); "
        "several times for several (default: an .mp4 named after the prompt file)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    group.add_argument(
        "--format",
        type=argument_types.filled,
        metavar="NAME",
        help="the container of - and of addresses",
    )
    group.add_argument(
        "--codec", type=argument_types.filled, metavar="NAME", help="h264, h265, av1, vp9 or ffv1"
    )
    group.add_argument(
        "--crf",
        type=argument_types.quality,
        metavar="N",
        help="quality, lower is better (h264: 18)",
    )
    group.add_argument(
        "--preset",
        type=argument_types.filled,
        metavar="NAME",
        help="speed of the encoder, such as medium (h264: veryfast)",
    )
    group.add_argument(
        "--nvenc",
        action="store_true",
        help="encode on an NVIDIA GPU, where it can (h264, h265, av1)",
    )
    group.add_argument(
        "--segment",
        type=argument_types.positive_duration,
        metavar="TIME",
        help="begin a new file so often, NAME-0001.mp4, NAME-0002.mp4, ...: 90s, 30m, 1h",
    )
    group.add_argument(
        "--window",
        type=argument_types.positive_count,
        metavar="N",
        help="blocks that a playlist keeps, 3 or more (default: all)",
    )


def add_picture(parser: Parser) -> None:
    group = parser.add_argument_group("the picture (defaults: the model's)")
    group.add_argument(
        "--size", type=argument_types.size, metavar="WxH", help="in pixels, as 832x480"
    )
    group.add_argument(
        "--fps",
        type=argument_types.rate,
        metavar="N",
        help="frames a second at which the video plays",
    )
    group.add_argument(
        "--seed",
        type=argument_types.seed,
        default=0,
        metavar="N",
        help="another seed, another video",
    )
    group.add_argument(
        "--guidance",
        type=argument_types.number_from_zero,
        metavar="G",
        help="how strongly the prompt is followed; 1 is plain and twice as fast",
    )
    group.add_argument(
        "--negative-prompt", metavar="TEXT", help="what guidance above 1 leads away from"
    )
    group.add_argument(
        "--steps",
        type=argument_types.steps,
        metavar="N",
        help="denoising steps a block, or the timesteps themselves: 1000,960,889,727",
    )
    group.add_argument(
        "--solver",
        type=argument_types.filled,
        metavar="NAME",
        help="renoise for distilled models; euler, dpm++ or unipc for others",
    )
    group.add_argument(
        "--flow-shift",
        type=argument_types.positive_number,
        metavar="S",
        help="how far the steps crowd towards noise; 1 is even",
    )


def add_model(parser: Parser) -> None:
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        type=argument_types.filled,
        default="pocket",
        metavar="MODEL",
        help="pocket (small, comes with this program), a folder in the diffusers layout, a .pth "
        "file, or a hub id",
    )
    group.add_argument(
        "--parts",
        type=argument_types.filled,
        metavar="MODEL",
        help="where a .pth file's VAE and text encoder come from (default: as published)",
    )
    group.add_argument(
        "--lora",
        action="append",
        type=argument_types.scaled_file,
        metavar="FILE[:SCALE]",
        help="a LoRA to merge into the model; give it several times for several",
    )
    group.add_argument(
        "--quantize",
        type=argument_types.filled,
        metavar="KIND",
        help="the model in fewer bits: int8, fp8 or nvfp4",
    )
    group.add_argument(
        "--quantize-text",
        type=argument_types.filled,
        metavar="KIND",
        help="the text encoder too: int8",
    )
    add_device(group)
    group.add_argument(
        "--memory",
        type=argument_types.filled,
        metavar="POLICY",
        help="what a block sees of the past: cumulative, window=W, window=W,sink=K or decay=G",
    )
    group.add_argument(
        "--block-frames",
        type=argument_types.positive_count,
        metavar="N",
        help="latent frames a block, of 4 pictures each",
    )
    group.add_argument(
        "--decoder",
        type=argument_types.filled,
        metavar="tiny=FILE",
        help="paint with TAEHV's small decoder for Wan 2.1 (taew2_1, a file or the hub id of one): "
        "faster, approximate",
    )
    group.add_argument(
        "--compile", action="store_true", help="compile the networks: slower to begin, then faster"
    )
    group.add_argument(
        "--graphs",
        action="store_true",
        help="record the work of a block as CUDA graphs: slower to begin, then faster",
    )
    group.add_argument(
        "--decode-frames",
        type=argument_types.positive_count,
        metavar="N",
        help="latent frames decoded at once; fewer take less memory (default: what fits)",
    )


def add_device(group: argparse._ActionsContainer, default: str | None = "auto") -> None:
    """Where a model runs and in which numbers; None is as an earlier run had it."""
    group.add_argument(
        "--device",
        type=argument_types.filled,
        default=default,
        metavar="NAME",
        help="auto, cpu, cuda or mps",
    )
    group.add_argument(
        "--dtype",
        type=argument_types.filled,
        default=default,
        metavar="NAME",
        help="auto, float32, bfloat16 or float16",
    )


def add_safety(parser: Parser) -> None:
    """The options that keep a run from being lost."""
    group = parser.add_argument_group("so that nothing is lost")
    group.add_argument(
        "--checkpoint-every",
        type=argument_types.duration,
        default=30.0,
        metavar="TIME",
        help="how often a checkpoint is written beside the video, for the resume command to go "
        "on from: 30s (default), 5m, off",
    )
    group.add_argument(
        "--keep-checkpoint",
        action="store_true",
        help="keep it when the video is whole, to branch from its end",
    )
    group.add_argument(
        "--guard",
        choices=("off", "warn", "anchor", "restart"),
        default="warn",
        help="when pictures drift far from those that the prompt began with: say so (default), "
        "go back to the memory's sink, or start again from the last good picture",
    )


def add_quiet(group: argparse._ActionsContainer) -> None:
    """The option that leaves only errors."""
    group.add_argument("--quiet", action="store_true", help="errors only")


def _add_talk(parser: Parser, version: str) -> None:
    group = parser.add_argument_group("what is said")
    add_quiet(group)
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    group.add_argument("--version", action="version", version=f"sana-stream {version}")
    group.add_argument("-h", "--help", action="help", help="show this and exit")
