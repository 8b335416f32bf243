"""`sana-stream info MODEL`: what a checkpoint is, and what it will take to run."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.parser import Parser, add_device, add_option
from sana_stream.cli.process import MESSAGE_LIMIT, answer
from sana_stream.streaming.run.messages import format_bytes

if TYPE_CHECKING:
    from sana_stream.engine.loading.inspect import MemoryEstimate, ModelInfo


LONGEST = 4000  # characters of a row


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "model",
        type=argument_types.filled,
        nargs="?",
        default="pocket",
        metavar="MODEL",
        help="pocket, a folder in the diffusers layout, a .pth file or a Hugging Face hub id "
        "(default: pocket)",
    )
    add_option(parser, "parts")
    add_option(parser, "decoder")
    add_option(
        parser, "size", help="width and height in pixels, such as 832x480 (default: the model's)"
    )
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(args: Namespace) -> int:
    """Look and tell; no weights are read."""
    from sana_stream.engine.loading.inspect import estimate_memory, inspect_model

    info = inspect_model(args.model, args.parts, args.decoder)
    width, height = args.size or (None, None)
    expected = estimate_memory(info, args.device, args.dtype, height, width)
    rows = (*_rows(info), *_memory_rows(expected))
    if args.json:
        facts: dict[str, str] = {}
        for name, value in rows:  # a model may have several obstacles
            facts[name] = f"{facts[name]}; {value}" if name in facts else value
        answer(json.dumps(facts))
        return 0
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(safe_text(value, MESSAGE_LIMIT)))
    Console(stderr=True).print(table)
    return 0


def _rows(info: ModelInfo) -> Iterator[tuple[str, str]]:
    from sana_stream.engine.loading.conventions import describe_conventions

    preset = info.preset
    yield "model", preset.name
    yield "from", str(info.source)
    for part in info.parts:
        weights = part.weights
        count = f"{weights.parameters / 1e6:,.1f} million weights in {', '.join(weights.dtypes)}"
        summary = f"{part.kind}, {count}, {format_bytes(weights.file_bytes)}"
        yield part.name.replace("_", " "), summary
    yield "licence", info.licence or "none in its folder"
    yield (
        "size",
        f"{preset.width}x{preset.height} at {preset.fps} frames a second{_multiples(info)}",
    )
    yield "block", f"{preset.block_frames} latent frames{_pictures(info)}"
    yield "sampling", _sampling(info)
    yield "conventions", describe_conventions(preset)
    yield "memory policy", preset.memory
    if info.trained_seconds is not None:
        yield "trained on", f"{info.trained_seconds:.0f} seconds"
    if info.vocabulary is not None:
        yield "words it knows", ", ".join(info.vocabulary.content_words)
    for obstacle in info.problems:
        yield "does not run", obstacle


def _multiples(info: ModelInfo) -> str:
    if info.vae is None:
        return ""
    down, across = info.size_multiple
    return f"; multiples of {down}" if down == across else f"; multiples of {across}x{down}"


def _pictures(info: ModelInfo) -> str:
    if info.vae is None:
        return ""
    count = info.preset.block_frames * info.vae.temporal_factor
    seconds = count / info.preset.fps
    return f", {count} pictures, {seconds:g} s; the first block has 1 more"


def _sampling(info: ModelInfo) -> str:
    preset = info.preset
    if preset.timesteps:
        steps = f"timesteps {', '.join(f'{t:g}' for t in preset.timesteps)}"
    else:
        steps = f"{preset.steps} steps, flow shift {preset.flow_shift:g}"
    guided = "no guidance" if preset.guidance == 1 else f"guidance {preset.guidance:g}"
    return f"{preset.solver}, {steps}, {guided}"


def _memory_rows(expected: MemoryEstimate | None) -> Iterator[tuple[str, str]]:
    if expected is None:
        return
    memory = expected.memory
    yield "on", f"{expected.device}, {str(expected.dtype).removeprefix('torch.')}"
    yield "at", f"{expected.width}x{expected.height}"
    text = format_bytes(memory.text_encoder)
    yield "weights", f"{format_bytes(memory.transformer + memory.vae)}, text encoder {text}"
    yield "kept for the next block", format_bytes(memory.kept)
    yield "while denoising", format_bytes(memory.denoise)
    yield "while decoding", f"{format_bytes(memory.decode)}, {expected.decode_frames} latent frames"
    without = f"{format_bytes(memory.floor)} while the text encoder rests elsewhere"
    yield "at the most", f"{format_bytes(memory.peak)}, {without}"
    yield "free now", format_bytes(expected.free)
