"""Run numerical checks on two layers of a model with random weights; prints a record of each.

python examples/benchmarks/measure_checks.py float32 pipelined --shapes 2b-480p
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from measuring import package  # noqa: F401 - makes sana_stream importable
from measuring.records import emit, emit_error
from sana_stream.engine.device import resolve_device
from sana_stream.engine.engine import Engine
from sana_stream.engine.performance.compile import compile_networks
from sana_stream.engine.performance.cuda_graphs import (
    GraphedTransformer,
    capture_graphs,
    graph_capture_for,
)
from sana_stream.engine.performance.random_model import SHAPES, ModelShapes, engine_of
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session

LAYERS, BLOCKS = 2, 3
ROWS, COLUMNS = 6, 10  # in units of the smallest frame that the model can generate


@dataclass(frozen=True)
class Check:
    """Result of a comparison: the relative difference of the latents of three blocks."""

    what: str
    difference: float
    allowed: float


def small(name: str) -> ModelShapes:
    """A model of full width, with two layers, short blocks and small frames."""
    shapes = SHAPES[name]
    down, across = (p * shapes.vae.spatial_factor for p in shapes.transformer.patch_size[1:])
    size = {"height": ROWS * down, "width": COLUMNS * across, "block_frames": 2}
    return ModelShapes(
        replace(shapes.transformer, num_layers=LAYERS), shapes.vae, replace(shapes.preset, **size)
    )


def stream(engine: Engine) -> Session:
    return engine.session("a red boat on the sea", seed=1)


def latents(engine: Engine) -> Tensor:
    """Latents of a stream's first blocks, on the CPU."""
    blocks = itertools.islice(stream(engine), BLOCKS)
    return torch.cat([block.latents for block in blocks], dim=2)


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def twin(engine: Engine, shapes: ModelShapes, device: str, dtype: str) -> Engine:
    """An engine with the same weights on another device or in another dtype."""
    other = engine_of(shapes, device, dtype)
    other.transformer.load_state_dict(engine.transformer.state_dict())
    other.vae.load_state_dict(engine.vae.state_dict())
    return other


@cache
def reference(shapes: ModelShapes) -> tuple[Engine, Tensor]:
    """An engine in float32 on the CPU, and the latents that it generates."""
    cpu = engine_of(shapes, "cpu", "float32")
    return cpu, latents(cpu)


def parity(shapes: ModelShapes, device: str, dtype: str, allowed: float) -> Check:
    torch.backends.cudnn.allow_tf32 = False  # by default convolutions round to 10 bits
    cpu, expected = reference(shapes)
    other = twin(cpu, shapes, device, dtype)
    what = f"{dtype} on {other.device.type} against float32 on the CPU"
    return Check(what, difference(latents(other), expected), allowed)


def convolution(shapes: ModelShapes, device: str) -> Check:
    """The decoder's largest convolution, which some versions of cuDNN compute wrongly."""
    chosen = resolve_device(device)
    torch.backends.cudnn.allow_tf32 = False
    size = (1, 96, 42, 480, 832) if chosen.type == "cuda" else (1, 8, 6, 60, 104)
    x, weight = (
        torch.randn(shape, device=chosen, dtype=torch.bfloat16).contiguous(
            memory_format=torch.channels_last_3d
        )
        for shape in (size, (size[1], size[1], 3, 3, 3))
    )
    result = F.conv3d(x, weight, padding=(0, 1, 1))
    worst = 0.0
    for start in range(0, result.shape[2], 4):  # in float32 it would take 13 GiB at once
        piece = x[:, :, start : start + 6].float()
        expected = F.conv3d(piece, weight.float(), padding=(0, 1, 1))
        got = result[:, :, start : start + 4].float()
        worst = max(worst, difference(got, expected))
    return Check("bfloat16 convolution of a whole block against float32 in pieces", worst, 1e-2)


def pipelined(shapes: ModelShapes, device: str) -> Check:
    engine = engine_of(shapes, device)
    ahead = itertools.islice(generate_ahead(stream(engine)), BLOCKS)
    pairs = zip(ahead, stream(engine), strict=False)
    worst = max(abs(a.frames.astype(int) - b.frames).max() for a, b in pairs)
    return Check("overlapped against sequential stages, frames", float(worst), 0.0)


def compiled(shapes: ModelShapes, device: str) -> Check:
    torch.backends.cudnn.allow_tf32 = False
    engine = engine_of(shapes, device, "float32")
    eager = latents(engine)
    compile_networks(engine)
    return Check("compiled against eager, float32", difference(latents(engine), eager), 1e-3)


def graphs(shapes: ModelShapes, device: str) -> Check:
    engine = engine_of(shapes, device)
    # prompts are padded as for captured graphs
    engine.transformer_calls = GraphedTransformer(
        engine.transformer, graph_capture_for(engine.device)
    )
    eager = latents(engine)
    capture_graphs(engine)
    return Check("CUDA graphs against eager", difference(latents(engine), eager), 0.0)


CHECKS: dict[str, Callable[[ModelShapes, str], Check]] = {
    "convolution": convolution,
    "float32": lambda shapes, device: parity(shapes, device, "float32", 1e-4),
    "bfloat16": lambda shapes, device: parity(shapes, device, "bfloat16", 5e-2),
    "pipelined": pipelined,
    "graphs": graphs,
    "compiled": compiled,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Check the machine.")
    parser.add_argument("checks", nargs="+", choices=CHECKS, metavar="CHECK", help=str([*CHECKS]))
    parser.add_argument("--shapes", choices=SHAPES, default="pocket")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    shapes = small(args.shapes)
    for name in args.checks:
        torch.manual_seed(0)
        try:
            check = CHECKS[name](shapes, args.device)
        except Exception as error:
            emit_error("checks", name, error)
            continue
        verdict = "holds" if check.difference <= check.allowed else "FAILS"
        facts = {"difference": check.difference, "allowed": check.allowed, "verdict": verdict}
        emit("checks", check.what, **facts)


if __name__ == "__main__":
    main()
