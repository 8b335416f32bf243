"""`sana-stream bench`: what a model does on this machine, with the machine named."""

from __future__ import annotations

import io
import json
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from . import values
from .parser import Parser
from .words import megabytes

if TYPE_CHECKING:
    from ..engine.bench import Figures
    from ..engine.block import Block
    from ..engine.engine import Engine


def add_options(parser: Parser) -> None:
    """The options of the command."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", default="pocket", metavar="MODEL", help="as for a video")
    what.add_argument(
        "--shapes", metavar="NAME", help="random weights in known shapes: 2b-480p, 2b-720p, pocket"
    )
    parser.add_argument("--size", type=values.size, metavar="WxH", help="in pixels, as 832x480")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps")
    parser.add_argument(
        "--dtype", default="auto", metavar="NAME", help="auto, float32, bfloat16 or float16"
    )
    parser.add_argument(
        "--repeats", type=values.positive_count, default=8, metavar="N", help="blocks a median"
    )
    parser.add_argument(
        "--warmup", type=values.positive_count, default=2, metavar="N", help="blocks before that"
    )
    parser.add_argument(
        "--against",
        choices=["diffusers"],
        help="the same clip, steps and weights there, in turns (needs diffusers, and --model)",
    )
    parser.add_argument("--json", action="store_true", help="figures for a program, on one line")


def run(args: Namespace) -> int:
    """Measure and tell."""
    from ..engine.bench import measure

    engine = _engine(args)
    width, height = args.size or (None, None)
    figures = measure(
        engine, repeats=args.repeats, warmup=args.warmup, height=height, width=width
    )
    encode = _encode_seconds(engine, figures)
    rivals = _against_diffusers(args, engine) if args.against else {}
    if args.json:
        told = asdict(figures) | {"encode": encode, "frames_a_second": figures.frames_a_second}
        _write(json.dumps(told | {"share_of_floor": figures.share_of_floor} | rivals) + "\n")
    else:
        _tell(Console(stderr=True), engine, figures, encode, rivals)
    return 0


def _engine(args: Namespace) -> Engine:
    if args.shapes:
        from ..engine.shapes import random_engine

        return random_engine(args.shapes, args.device, args.dtype)
    from . import model

    return model.load(args.model, args.device, args.dtype)


def _encode_seconds(engine: Engine, figures: Figures) -> float:
    """Median seconds to encode and mux one block as a file takes it."""
    from ..streaming.containers import make_muxer
    from ..streaming.format import Encoding, Tags, VideoFormat

    video = VideoFormat(figures.width, figures.height, engine.preset.fps)
    muxer = make_muxer("mp4", video, Encoding(), Tags())
    target, seconds = io.BytesIO(), []
    muxer.begin(target)
    for block in islice(_blocks(engine, figures), 4):
        begun = time.perf_counter()
        muxer.add(block)
        seconds.append(time.perf_counter() - begun)
    return median(seconds[1:])
