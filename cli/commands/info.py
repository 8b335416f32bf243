"""`sana-stream info MODEL`: what a checkpoint is, and what it will take to run."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from io import StringIO
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.parser import Parser, add_device, add_option
from sana_stream.cli.process import MESSAGE_LIMIT, answer
from sana_stream.streaming.run.messages import format_bytes

from .info_facts import model_facts

if TYPE_CHECKING:
    from sana_stream.engine.loading.inspect import MemoryEstimate, ModelInfo


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
    size = parser.add_mutually_exclusive_group()
    add_option(
        size, "size", help="width and height in pixels, such as 832x480 (default: the model's)"
    )
    add_option(size, "aspect")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(args: Namespace) -> int:
    """Print what the configurations and the headers of the weights say; no weights are read.

    Returns 0, or 1 for a model that cannot be run.
    """
    from sana_stream.engine.loading.inspect import estimate_memory, inspect_model
    from sana_stream.engine.loading.sizes import size_note

    info = inspect_model(args.model, args.parts, args.decoder)
    height, width = _chosen_size(args, info)
    expected = estimate_memory(info, args.device, args.dtype, height, width)
    notes = list(info.notes)
    if height is not None and width is not None:
        note = size_note(info.preset.sizes, height, width)
        notes += [] if note is None else [note]
    if args.json:
        answer(json.dumps(model_facts(info, expected, notes)))
    else:
        print_table([*_rows(info, notes), *_memory_rows(expected), *_words(info)])
    return 1 if info.errors else 0


def _chosen_size(args: Namespace, info: ModelInfo) -> tuple[int | None, int | None]:
    """The height and width that were asked for."""
    if args.aspect is not None and info.vae is not None:
        from sana_stream.engine.session.settings import size_of_aspect

        return size_of_aspect(info.preset, info.size_multiple, args.aspect)
    width, height = args.size or (None, None)
    return height, width


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values to standard output; they are folded on a terminal only."""
    rows = [(safe_text(name, 40), safe_text(value, MESSAGE_LIMIT)) for name, value in rows]
    if not sys.stdout.isatty():
        across = max(len(name) for name, _ in rows)
        answer("\n".join(f"{name:{across}}  {value}" for name, value in rows))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    text, columns = StringIO(), get_terminal_size().columns
    Console(file=text, width=columns, color_system=None).print(table)
    answer(text.getvalue().rstrip("\n"))


def _rows(info: ModelInfo, notes: Sequence[str]) -> Iterator[tuple[str, str]]:
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
    if preset.sizes:
        sizes = sorted({(size.width, size.height) for size in preset.sizes}, reverse=True)
        yield "sizes in training", ", ".join(f"{width}x{height}" for width, height in sizes)
    yield "block", f"{preset.block_frames} latent frames{_frames(info)}"
    yield "sampling", _sampling(info)
    yield "conventions", describe_conventions(preset)
    if info.transformer.causal:
        yield "memory policy", preset.memory
    else:
        yield "makes", "one clip at a time, a block, under one prompt; it cannot be continued"
    if not preset.image_start:
        yield "from an image", "no"
    if info.trained_seconds is not None:
        yield "trained on", f"{info.trained_seconds:.0f} seconds"
    for note in notes:
        yield "note", note
    for problem in info.problems:
        yield "does not run", problem


def _words(info: ModelInfo) -> Iterator[tuple[str, str]]:
    """What a model with a vocabulary knows: by topic, or in one row where it lists no topics."""
    if info.vocabulary is None:
        return
    topics = info.vocabulary.by_topic
    if not topics:
        yield "words it knows", ", ".join(info.vocabulary.content_words)
        return
    count = len(info.vocabulary.content_words)
    yield "words it knows", f"{count}, in any combination; it ignores all others"
    for topic, phrases in topics.items():
        yield topic, ", ".join(phrases)


def _multiples(info: ModelInfo) -> str:
    if info.vae is None:
        return ""
    down, across = info.size_multiple
    return f"; multiples of {down}" if down == across else f"; multiples of {across}x{down}"


def _frames(info: ModelInfo) -> str:
    if info.vae is None:
        return ""
    count = info.preset.block_frames * info.vae.temporal_factor
    seconds = count / info.preset.fps
    return f", {count} frames, {seconds:g} s; the first block has 1 more"


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
    without = f"{format_bytes(memory.floor)} with the text encoder offloaded"
    yield "peak", f"{format_bytes(memory.peak)}, {without}"
    yield "free now", format_bytes(expected.free)
