"""Measure the error of fp8 products on random weights of the 2B width, on the CPU.

python examples/benchmarks/fp8_error.py                 # two layers of the full width
python examples/benchmarks/fp8_error.py --shapes pocket

Weights are random, so the errors are those of rounding and say nothing of how a video looks. Each
row compares with float32: first one layer's output, then a block's latents after all its steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor

from measure_checks import small, twin
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.quantize import quantize_network
from sana_stream.engine.performance.random_model import SHAPES, engine_of

PROMPT = "a red boat on the sea"


def layer_outputs(engine: Engine) -> tuple[list[Tensor], Tensor]:
    """What each layer added to its input in a block's first call, and the block's latents."""
    outputs: list[Tensor] = []

    def keep(layer: object, inputs: tuple[Tensor, ...], result: tuple[Tensor, ...]) -> None:
        outputs.append((result[0] - inputs[0]).float())

    layers = engine.transformer.layers
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    latents = next(engine.session(PROMPT, seed=1)).latents
    for hook in hooks:
        hook.remove()
    return outputs[: len(layers)], latents


def errors(own: tuple[list[Tensor], Tensor], exact: tuple[list[Tensor], Tensor]) -> list[float]:
    """Relative errors of the layers and of the latents."""
    pairs = zip((*own[0], own[1]), (*exact[0], exact[1]), strict=True)
    return [float((one.float() - other).norm() / other.norm()) for one, other in pairs]


def rows(name: str) -> Iterator[tuple[str, list[float]]]:
    """The errors of each precision."""
    shapes = small(name)
    reference = engine_of(shapes, "cpu", "float32")
    exact = layer_outputs(reference)
    engine = twin(reference, shapes, "cpu", "bfloat16")
    yield "bfloat16", errors(layer_outputs(engine), exact)
    quantize_network(engine.transformer, "fp8", (*engine.preset.full_precision, "ff.conv_temp"))
    yield "fp8 without the temporal convolution", errors(layer_outputs(engine), exact)
    quantize_network(engine.transformer, "fp8", engine.preset.full_precision)
    yield "fp8", errors(layer_outputs(engine), exact)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the error of fp8 products.")
    parser.add_argument("--shapes", choices=SHAPES, default="2b-480p")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    for number, (precision, found) in enumerate(rows(args.shapes)):
        if number == 0:
            heads = ["against float32", *(f"layer {n + 1}" for n in range(len(found) - 1))]
            print("| " + " | ".join([*heads, "latents after all steps"]) + " |")
            print("|---" * (len(found) + 1) + "|")
        print(f"| {precision} | " + " | ".join(f"{each:.1e}" for each in found) + " |", flush=True)


if __name__ == "__main__":
    main()
