"""Run one numerical check on two layers of a model with random weights; prints a line of JSON.

python examples/benchmarks/measure_checks.py float32 --shapes 2b-480p
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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


def parity(shapes: ModelShapes, device: str, dtype: str, allowed: float) -> Check:
    torch.backends.cudnn.allow_tf32 = False  # by default convolutions round to 10 bits
    cpu = engine_of(shapes, "cpu", "float32")
    other = twin(cpu, shapes, device, dtype)
    what = f"{dtype} on {other.device.type} against float32 on the CPU"
    return Check(what, difference(latents(other), latents(cpu)), allowed)


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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Check the machine.")
    parser.add_argument("check", choices=["float32", "bfloat16", "pipelined", "compiled", "graphs"])
    parser.add_argument("--shapes", choices=SHAPES, default="pocket")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    shapes, device = small(args.shapes), args.device
    torch.manual_seed(0)
    match args.check:
        case "float32":
            check = parity(shapes, device, "float32", 1e-4)
        case "bfloat16":
            check = parity(shapes, device, "bfloat16", 5e-2)
        case "pipelined":
            check = pipelined(shapes, device)
        case "compiled":
            check = compiled(shapes, device)
        case _:
            check = graphs(shapes, device)
    print(
        json.dumps(
            {"what": check.what, "difference": check.difference} | {"allowed": check.allowed}
        )
    )


if __name__ == "__main__":
    main()
