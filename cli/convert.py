"""`sana-stream convert IN OUT`: a checkpoint in the layout that diffusers reads, or back."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from .parser import Parser


def add_options(parser: Parser) -> None:
    """The options of the command."""
    parser.add_argument("source", metavar="IN", help="a .pth file, a folder or a hub id")
    parser.add_argument(
        "target",
        metavar="OUT",
        help="a folder in the diffusers layout, or a file in the original one (.pth)",
    )
    parser.add_argument(
        "--parts",
        metavar="MODEL",
        help="folder or hub id with the VAE and text encoder, where IN has none",
    )
    parser.add_argument(
        "--dtype", metavar="NAME", help="float32, bfloat16 or float16 (default: as they are)"
    )


def run(args: Namespace) -> int:
    """Convert and say so."""
    from sana_stream._text import safe_text

    from ..engine.convert import convert_model

    convert_model(args.source, Path(args.target), args.parts, args.dtype)
    sys.stderr.write(f"sana-stream: {safe_text(args.target)} is written\n")
    return 0
