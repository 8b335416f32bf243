"""Probe of copies and of the products of the 2B transformer, in bfloat16 and fp8."""

from __future__ import annotations

from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from measuring.timing import Bench, Work

TOKENS = 15_600  # of a block of 10 latent frames at 832x480
WIDTH, MIXED = 2240, 13_440
SQUARE = 8192
SHAPES = (
    (SQUARE, SQUARE, "the machine's peak"),
    (WIDTH, WIDTH, "one projection"),
    (WIDTH, 3 * WIDTH, "queries, keys and values"),
    (WIDTH, MIXED, "into the feed-forward"),
    (MIXED // 2, WIDTH, "out of the feed-forward"),
    (3 * WIDTH, WIDTH, "three temporal taps"),
)
GIB = 1 << 30


def probe_products(bench: Bench) -> None:
    """Measure a copy of 1 GiB and the products, tokens times weights."""
    scale = 16 if bench.small else 1
    size = GIB // scale**2
    source, target = torch.empty(2, size, dtype=torch.uint8, device=bench.device)
    copy = partial(target.copy_, source)
    bench.row("rates", f"copy of {size >> 20} MiB", copy, moved=2 * size)
    del copy, source, target
    for inputs, outputs, what in SHAPES:
        rows = SQUARE if inputs == SQUARE else TOKENS
        # multiples of 16, as fp8 needs
        sides = (-(-side // scale // 16) * 16 for side in (rows, inputs, outputs))
        _product(bench, *sides, what)


def _product(bench: Bench, rows: int, inputs: int, outputs: int, what: str) -> None:
    x, weight = bench.tensor(rows, inputs), bench.tensor(outputs, inputs)
    bias = bench.tensor(outputs)
    flop = 2 * rows * inputs * outputs
    name = f"{rows} x {inputs} -> {outputs}, {what}"
    bench.row("rates", f"{name}, bfloat16", lambda: F.linear(x, weight, bias), flop)
    bench.row("rates", f"{name}, fp8, a scale a row", _fp8(x, weight, by_row=True), flop)
    bench.row("rates", f"{name}, fp8, one scale", _fp8(x, weight, by_row=False), flop)
    moved = 3 * x.numel()
    bench.row("rates", f"{name}, its input to fp8, eager", lambda: quantize(x), moved=moved)


def _fp8(x: Tensor, weight: Tensor, *, by_row: bool) -> Work:
    @cache  # with the first call, which is not counted, and whose failure is the row's
    def operands() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sides = ((x.shape[0], 1), (1, weight.shape[0])) if by_row else ((), ())
        scales = [torch.ones(side, device=x.device) for side in sides]
        return x.to(torch.float8_e4m3fn), weight.to(torch.float8_e4m3fn).t(), scales[0], scales[1]

    def work() -> Tensor:
        return torch._scaled_mm(*operands(), out_dtype=torch.bfloat16, use_fast_accum=True)

    return work


def quantize(x: Tensor) -> Tensor:
    """Round to fp8 with a scale a row, in torch's own operations."""
    scale = x.abs().amax(1, keepdim=True).float() / 448
    return (x / scale).to(torch.float8_e4m3fn)
