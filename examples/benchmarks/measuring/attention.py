"""Probe of attention at the 2B transformer's shapes: the linear sums, and over the prompt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from measuring.products import TOKENS
from measuring.timing import Bench, Work

HEADS, WIDTH = 20, 112
TEXT = 300
PIECES = 10  # into which the sum over tokens is split


def probe_attention(bench: Bench) -> None:
    """Measure sum and output of linear attention, and attention over 300 text tokens."""
    heads, width, tokens = (4, 16, 480) if bench.small else (HEADS, WIDTH, TOKENS)
    _linear(bench, heads, width, tokens)
    q, k = bench.tensor(1, heads, tokens, width), bench.tensor(1, heads, TEXT, width)
    mask = torch.zeros(1, 1, 1, TEXT, device=bench.device, dtype=q.dtype)
    flop = 4 * heads * tokens * TEXT * width
    attend = F.scaled_dot_product_attention
    bench.row("attention", "over the text, a mask", lambda: attend(q, k, k, attn_mask=mask), flop)
    bench.row("attention", "over the text, no mask", lambda: attend(q, k, k), flop)


def _linear(bench: Bench, heads: int, width: int, tokens: int) -> None:
    exact = torch.float32
    k, v = (bench.tensor(1, tokens, heads, width, dtype=exact) for _ in "kv")
    flop = 2 * tokens * heads * width**2

    def sums() -> Tensor:
        return k.permute(0, 2, 3, 1) @ v.transpose(1, 2)

    bench.row("attention", "linear, sum, float32", sums, flop)
    bench.row("attention", "linear, sum, TF32", _with_tf32(sums), flop)
    shape = heads, PIECES, tokens // PIECES, width
    kb, vb = (x.bfloat16().transpose(1, 2).reshape(shape).flatten(0, 1) for x in (k, v))

    def in_pieces() -> Tensor:
        parts = kb.transpose(1, 2) @ vb
        return parts.view(heads, PIECES, width, width).sum(1, dtype=exact)

    bench.row("attention", f"linear, sum, bfloat16 in {PIECES} pieces", in_pieces, flop)
    q, S = bench.tensor(1, heads, tokens, width, dtype=exact), sums()
    bench.row("attention", "linear, output, float32", lambda: q @ S, flop)
    bench.row("attention", "linear, output, TF32", _with_tf32(lambda: q @ S), flop)
    qb, Sb = q.bfloat16(), S.bfloat16()
    bench.row("attention", "linear, output, bfloat16", lambda: qb @ Sb, flop)


def _with_tf32(work: Work) -> Work:
    def allowed() -> Tensor:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return work()
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    return allowed
