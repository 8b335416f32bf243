"""`sana-stream convert IN OUT`: a checkpoint in the layout that diffusers reads, or back."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sana_stream.cli import argument_types
from sana_stream.cli.parser import Parser, add_option
from sana_stream.cli.process import print_message


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "source",
        type=argument_types.filled,
        metavar="IN",
        help="a .pth file, a folder in the diffusers layout or a Hugging Face hub id",
    )
    parser.add_argument(
        "target",
        type=argument_types.filled,
        metavar="OUT",
        help="a new folder for the diffusers layout, or a .pth file for the original layout",
    )
    add_option(
        parser, "parts", help="folder or hub id with the VAE and text encoder, if IN has none"
    )
    add_option(
        parser,
        "dtype",
        default=None,
        help="float32, bfloat16 or float16 (default: as in IN)",
    )


def run(args: Namespace) -> int:
    """Convert and say so."""
    from sana_stream._text import safe_text
    from sana_stream.engine.loading.convert import convert_model

    convert_model(args.source, Path(args.target), args.parts, args.dtype)
    print_message(f"{safe_text(args.target)} is written")
    return 0
