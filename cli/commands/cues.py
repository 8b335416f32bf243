"""`sana-stream cues`: write the prompts of a video for editing programs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sana_stream.cli import argument_types
from sana_stream.cli.parser import Parser, add_option
from sana_stream.cli.process import print_message


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "video",
        type=argument_types.file_name,
        metavar="VIDEO",
        help="a video file, with its captions (.vtt) next to it",
    )
    parser.add_argument(
        "--out",
        type=argument_types.file_name,
        required=True,
        metavar="FILE",
        help="Final Cut Pro (.fcpxml), EDL (.edl) or OpenTimelineIO (.otio); the last two need "
        "sana-stream[edit]",
    )
    add_option(parser, "overwrite")
    add_option(parser, "quiet")


def run(args: Namespace) -> int:
    """Write one clip for each prompt."""
    from sana_stream.streaming.run.cues import export_cues

    count = export_cues(Path(args.video), Path(args.out), overwrite=args.overwrite)
    if not args.quiet:
        print_message(f"{args.out}: {count} prompts of {args.video}")
    return 0
