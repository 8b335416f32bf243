"""`sana-stream convert IN OUT`: a checkpoint in the layout that diffusers reads, or back."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sana_stream.cli import argument_types
from sana_stream.cli.parser import Parser
from sana_stream.cli.process import print_message


def add_options(parser: Parser) -> None:
    """The options of the command."""
    parser.add_argument(
        "source", type=argument_types.filled, metavar="IN", help="a .pth file, a folder or a hub id"
    )
    parser.add_argument(
        "target",
        type=argument_types.filled,
        metavar="OUT",
        help="a folder in the diffusers layout, or a file in the original one (.pth)",
    )
    parser.add_argument(
        "--parts",
        type=argument_types.filled,
        metavar="MODEL",
        help="folder or hub id with the VAE and text encoder, where IN has none",
    )
    parser.add_argument(
        "--dtype",
        type=argument_types.filled,
        metavar="NAME",
        help="float32, bfloat16 or float16 (default: as they are)",
    )


def run(args: Namespace) -> int:
    """Convert and say so."""
    from sana_stream._text import safe_text
    from sana_stream.engine.loading.convert import convert_model

    convert_model(args.source, Path(args.target), args.parts, args.dtype)
    print_message(f"{safe_text(args.target)} is written")
    return 0
