"""`sana-stream bench`: what a model does on this machine, with the machine named."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.parser import Parser, add_device, add_option
from sana_stream.cli.process import answer
from sana_stream.errors import ConfigError
from sana_stream.streaming.run.messages import format_bytes

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.performance.benchmark import BenchmarkResult


PROMPT = "a red boat on the sea"
ENCODED_BLOCKS = 4


def clip_seconds(
    engine: Engine, model: str, figures: BenchmarkResult, repeats: int
) -> tuple[float, float]:
    """Median seconds for one clip of a first block's length: ours, and diffusers'.

    Both encode the prompt, take the same number of Euler steps without guidance at the same size
    and decode; ours and theirs run alternately, after one of each that is not counted.

    Raises:
        ConfigError: diffusers is not installed, or cannot run the model.
    """
    from sana_stream.engine.loading.locate import resolve_model  # imports torch

    try:
        from diffusers import SanaVideoPipeline
        from diffusers.utils import logging
    except ImportError as error:
        raise ConfigError(
            "--against diffusers: it is not installed; pip install diffusers"
        ) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    pipeline = SanaVideoPipeline.from_pretrained(resolve_model(model), dtype=engine.dtype)
    pipeline.to(engine.device)
    pipeline.set_progress_bar_config(disable=True)
    preset, pictures = engine.preset, 1 + figures.pictures

    def theirs() -> None:
        pipeline(
            PROMPT,
            height=figures.height,
            width=figures.width,
            frames=pictures,
            num_inference_steps=figures.steps,
            guidance_scale=1.0,
            complex_human_instruction=list(preset.instruction),
            max_sequence_length=preset.max_text_tokens,
            use_resolution_binning=False,
            output_type="np",
        )

    def ours() -> None:
        next(
            engine.session(
                PROMPT,
                height=figures.height,
                width=figures.width,
                guidance=1.0,
                steps=figures.steps,
                solver="euler",
            )
        )

    _seconds(ours)
    _seconds(theirs)
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    return median(a for a, _ in pairs), median(b for _, b in pairs)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    what = parser.add_mutually_exclusive_group()
    add_option(what, "model")
    what.add_argument(
        "--shapes",
        type=argument_types.filled,
        metavar="NAME",
        help="random weights in the shapes of a known model: 2b-480p, 2b-720p or pocket",
    )
    add_option(
        parser, "size", help="width and height in pixels, such as 832x480 (default: the model's)"
    )
    add_device(parser)
    parser.add_argument(
        "--repeats",
        type=argument_types.positive_count,
        default=8,
        metavar="N",
        help="number of measured blocks; the median is printed (default: 8)",
    )
    parser.add_argument(
        "--warmup",
        type=argument_types.positive_count,
        default=2,
        metavar="N",
        help="number of blocks before the measured ones (default: 2)",
    )
    parser.add_argument(
        "--against",
        choices=["diffusers"],
        help="also measure one clip of the same steps and weights with that package, alternately "
        "(needs --model and diffusers)",
    )
    add_option(
        parser,
        "decoder",
        metavar="KIND[=PATH]",
        help="measure with another decoder: tiny=FILE or causal=FOLDER; with --shapes no file is "
        "needed",
    )
    add_option(parser, "quantize")
    add_option(parser, "compile", help="compile the networks before measuring")
    add_option(parser, "graphs", help="capture CUDA graphs before measuring")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(args: Namespace) -> int:
    """Measure, and print the figures."""
    from sana_stream.engine.performance.benchmark import run_benchmark

    if args.against and args.shapes:
        raise ConfigError("--against needs weights that both can load: use --model, not --shapes")
    engine = _engine(args)
    if args.compile:
        from sana_stream.engine.performance.compile import compile_networks

        compile_networks(engine)
    width, height = args.size or (None, None)
    if args.graphs:
        from sana_stream.engine.performance.cuda_graphs import capture_graphs

        capture_graphs(engine, height, width)
    figures = run_benchmark(
        engine, repeats=args.repeats, warmup=args.warmup, height=height, width=width
    )
    encode = _encode_seconds(engine, figures)
    rivals = _against(args, engine, figures) if args.against else {}
    if args.json:
        facts = asdict(figures) | {"encode": encode} | rivals
        facts |= {"frames_a_second": figures.frames_a_second, "share": figures.share_of_floor}
        answer(json.dumps(facts))
    else:
        _tell(Console(stderr=True), engine, figures, encode, rivals)
    return 0


def _engine(args: Namespace) -> Engine:
    more = {"decoder": args.decoder, "quantize": args.quantize}
    if args.shapes:
        from sana_stream.engine.performance.random_model import random_engine

        return random_engine(args.shapes, args.device, args.dtype, **more)
    from sana_stream.engine.cpu import stay_within_quota
    from sana_stream.engine.engine import Engine

    stay_within_quota()
    return Engine.load(args.model, args.device, args.dtype, **more)


def _encode_seconds(engine: Engine, figures: BenchmarkResult) -> float:
    """Median seconds to encode and mux one block as a file takes it."""
    from sana_stream.streaming.containers.registry import create_muxer
    from sana_stream.streaming.video_format import StreamSpec, VideoFormat

    video = VideoFormat(figures.width, figures.height, engine.preset.fps)
    muxer = create_muxer("mp4", StreamSpec(video))
    muxer.header()
    session = engine.session("a red boat", height=figures.height, width=figures.width)
    blocks = islice(session, ENCODED_BLOCKS)
    return median(_seconds(partial(muxer.add, block)) for block in blocks)


def _against(args: Namespace, engine: Engine, figures: BenchmarkResult) -> dict[str, float]:
    ours, theirs = clip_seconds(engine, args.model, figures, args.repeats)
    return {"clip": ours, "clip_in_diffusers": theirs}


def _tell(
    console: Console,
    engine: Engine,
    figures: BenchmarkResult,
    encode: float,
    rivals: dict[str, float],
) -> None:
    machine = ", ".join(figures.machine.values())
    named = f"{engine.preset.name}, {figures.width}x{figures.height}: {machine}"
    console.print(Text(safe_text(named)))
    console.print(
        f"a block is {figures.pictures} pictures: {figures.steps} denoising steps and a commit"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("", justify="right")
    for name, value in (*_rows(figures, engine.preset.fps, encode), *_rival_rows(rivals)):
        table.add_row(name, value)
    console.print(table)


def _rows(figures: BenchmarkResult, fps: float, encode: float) -> Iterator[tuple[str, str]]:
    yield "first frame", _ms(figures.first_picture)
    yield "prompt to keys and values", _ms(figures.text)
    yield "one denoising call", _ms(figures.denoise_call)
    yield "commit", _ms(figures.commit)
    yield "decode, to host", _ms(figures.decode)
    yield "encode and mux", _ms(encode)
    yield "block, stages one by one", _ms(figures.block)
    yield "block, stages overlapped", _ms(figures.block_overlapped)
    for index, seconds in figures.at_block.items():
        yield f"block after {index:,} others", _ms(seconds)
    rate = figures.frames_a_second
    yield "frames per second", f"{rate:.1f} ({rate / fps:.2f} x real time)"
    yield "memory, peak", f"{format_bytes(figures.memory)}, {format_bytes(figures.peak_memory)}"
    yield "kept for the next block", format_bytes(figures.state)
    yield "operations a block", f"{figures.cost.flop / 1e12:.3f} TFLOP"
    yield "matrix product here", f"{figures.flop_rate / 1e12:.2f} TFLOP/s"
    yield "share of the counted floor", f"{figures.share_of_floor:.0%}"


def _rival_rows(rivals: dict[str, float]) -> Iterator[tuple[str, str]]:
    if rivals:
        ours, theirs = rivals.values()
        yield "the same clip", _ms(ours)
        yield "in diffusers", f"{_ms(theirs)} ({theirs / ours:.2f} x as long)"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"
