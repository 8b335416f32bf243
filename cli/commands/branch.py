"""`sana-stream branch`: make another video from a checkpoint."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sana_stream.cli import argument_types
from sana_stream.cli.options import (
    LENGTH,
    OUTPUT,
    PROMPTS,
    SAFETY,
    STDOUT,
    check_checkpoint,
    check_story,
)
from sana_stream.cli.parser import Parser, add_device, add_devices, add_group, add_option
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.pipe import claim_stdout


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "checkpoint",
        type=argument_types.file_name,
        metavar="CHECKPOINT",
        help="the checkpoint to start from, or its video",
    )
    add_group(parser, PROMPTS, leave_out=("image", "video"))
    add_group(parser, LENGTH)
    add_group(parser, OUTPUT)
    add_option(parser, "seed", default=None, help="seed of the noise (default: as before)")
    add_option(parser, "model", default=None, help="the model, if it has moved")
    add_device(parser, default=None)
    add_devices(parser)
    add_group(parser, SAFETY)
    add_option(parser, "quiet")


def run(args: Namespace) -> int:
    """Make a video whose first frame follows the checkpoint's last one."""
    if not args.out:
        raise ConfigError("a branch is a video of its own: give it a name with --out FILE")
    check_story(args)
    check_checkpoint(args)
    stdout = claim_stdout() if STDOUT in args.out else None
    from sana_stream.streaming.run.runner import Run  # imports torch

    from .generate import make_video

    same = (
        *("minutes", "seconds", "frames", "endless", "every", "overwrite", "codec", "crf"),
        *("preset", "nvenc", "segment", "window", "seed", "model", "device", "dtype"),
        *("keep_checkpoint", "guard", "mark", "bit_depth", "sign", "audio"),
        *("devices", "parallel"),
    )
    parameters = {name: getattr(args, name) for name in same}

    def start(control: LiveControl) -> Run:
        return Run.branch(
            None,
            args.checkpoint,
            control=control,
            stdout=stdout,
            story=args.prompt if args.prompt_file is None else Path(args.prompt_file),
            outputs=args.out,
            container=args.format,
            checkpoint=args.checkpoint_every > 0,
            checkpoint_every=args.checkpoint_every or None,
            directed=False,
            **parameters,
        )

    return make_video(start, quiet=args.quiet, interactive=False)
