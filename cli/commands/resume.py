"""`sana-stream resume`: continue a video that was interrupted."""

from __future__ import annotations

from argparse import Namespace

from sana_stream.cli import argument_types
from sana_stream.cli.live_options import LIVE, LiveOptions
from sana_stream.cli.option_fields import read_options
from sana_stream.cli.options import STDOUT, check_live
from sana_stream.cli.parser import Parser, add_device, add_devices, add_group, add_option
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.pipe import claim_stdout


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "video",
        type=argument_types.file_name,
        metavar="VIDEO",
        help="the interrupted video, or the checkpoint next to it",
    )
    again = parser.add_argument_group("outputs other than files (used only when given again)")
    add_option(
        again,
        "outputs",
        help="URL, - for standard output, or a file of the run in another folder; repeat the "
        "option for several",
    )
    add_option(again, "container")
    add_option(again, "sign")
    add_group(parser, LIVE)
    other = parser.add_argument_group("model and device (default: as before)")
    add_option(other, "model", default=None, help="the model, if it has moved")
    add_device(other, default=None)
    add_devices(other)
    add_option(parser, "quiet")


def run(args: Namespace) -> int:
    """Continue the video; it equals an uninterrupted one."""
    check_live(args)
    outputs = tuple(args.out or ())
    live = LiveOptions(**read_options(LiveOptions, args))
    stdout = claim_stdout() if STDOUT in outputs else None
    from sana_stream.streaming.run.runner import Run  # imports torch

    from .generate import make_video

    def start(control: LiveControl) -> Run:
        return Run.resume(
            None,
            args.video,
            outputs,
            control=control,
            stdout=stdout,
            container=args.format,
            sign=args.sign,
            directed=live.live,
            model=args.model,
            device=args.device,
            dtype=args.dtype,
            devices=args.devices,
            parallel=args.parallel,
            **vars(live),
        )

    return make_video(start, quiet=args.quiet, interactive=live.interactive)
