"""Linear attention of a block in three kernels: norms of the rows, sums, and their application.

The reference is `linear_attention` of `sana_stream.models.attention` on the features of
`SelfAttention`. Queries and keys are normalised, made non-negative and rotated in registers, so no
float32 tensor of the tokens' size is written. Sums of pieces of the block are added in their order.

Shapes: B batch, N tokens, H heads, d head width, D = H*d.
"""

from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found] - comes with CUDA builds of torch
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

from .launch import is_hopper, launch, power_of_two, rows_of

PIECE = 512  # tokens whose sums one program adds: 15,600 tokens and 20 heads are 620 programs
SUM_TOKENS, SUM_WARPS = 32, 8  # tokens of one step
# Tokens and warps of one program, by the kind of tensor cores: those of Hopper read shared memory,
# all others hold the whole of a head's sums in registers.
APPLY_HOPPER, APPLY_OTHER = (64, 8), (16, 4)
NORM_ROWS, NORM_COLUMNS = 4, 512  # of one step


@triton.jit
def _row_scale(x, rows, valid, width, eps, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """1 / RMS of rows that begin at `rows`."""
    columns = tl.arange(0, COLUMNS)
    squares = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, width, COLUMNS):
        at = start + columns
        inside = valid[:, None] & (at < width)[None, :]
        value = tl.load(x + rows[:, None] + at[None, :], mask=inside, other=0.0).to(tl.float32)
        squares += value * value
    return 1.0 / tl.sqrt(tl.sum(squares, axis=1) / width + eps)


@triton.jit(do_not_specialize=["tokens", "rows"])
def row_scales(
    query, key, query_scale, key_scale, rows, tokens, width, eps,
    query_batch, query_row, key_batch, key_row, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """1 / RMS of each row of queries and keys (B, N, D): two (B, N), float32."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    valid = row < rows
    batch, token = row // tokens, row % tokens
    at = batch * query_batch + token * query_row
    scale = _row_scale(query, at, valid, width, eps, ROWS, COLUMNS)
    tl.store(query_scale + row, scale, mask=valid)
    at = batch * key_batch + token * key_row
    scale = _row_scale(key, at, valid, width, eps, ROWS, COLUMNS)
    tl.store(key_scale + row, scale, mask=valid)


@triton.jit
def _features(x, rows, scale, weight, inside):
    """Non-negative features of one head: relu(x * scale * weight), float32."""
    value = tl.load(x + rows, mask=inside, other=0.0).to(tl.float32)
    return tl.maximum(value * scale[:, None] * weight[None, :], 0.0)


@triton.jit
def _rotate(x, cos, sin, TOKENS: tl.constexpr, WIDTH: tl.constexpr):
    """Rotate the channel pairs (2i, 2i+1) of x (TOKENS, WIDTH)."""
    even, odd = tl.split(tl.reshape(x, (TOKENS, WIDTH // 2, 2)))
    turned = tl.join(even * cos - odd * sin, even * sin + odd * cos)
    return tl.reshape(turned, (TOKENS, WIDTH))


@triton.jit
def _angles(table, batch, token, valid, d: tl.constexpr, WIDTH: tl.constexpr):
    pairs = tl.arange(0, WIDTH // 2)
    at = (batch + token)[:, None] * (d // 2) + pairs[None, :]
    return tl.load(table + at, mask=valid[:, None] & (pairs < d // 2)[None, :], other=0.0)


@triton.jit(do_not_specialize=["tokens", "angle_tokens"])
def block_sums(
    key, scale, weight, value, cos, sin, S, z, tokens, angle_tokens,
    key_batch, key_row, value_batch, value_row,
    H: tl.constexpr, d: tl.constexpr, WIDTH: tl.constexpr, TOKENS: tl.constexpr,
    PIECE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sums of one head over a piece of the tokens: S (pieces, B, H, d, d) and z (pieces, B, H, d).

    `S = sum of v rope(k)^T`, `z = sum of k`. Tensor cores multiply in the dtype of `value`.
    """
    piece, place = tl.program_id(0), tl.program_id(1)
    batch, head = (place // H).to(tl.int64), place % H
    channel = tl.arange(0, WIDTH)
    w = tl.load(weight + head * d + channel, mask=channel < d, other=0.0).to(tl.float32)
    key_at = key + batch * key_batch + head * d
    value_at = value + batch * value_batch + head * d
    own_S = tl.zeros((WIDTH, WIDTH), tl.float32)
    own_z = tl.zeros((WIDTH,), tl.float32)
    for start in range(0, PIECE, TOKENS):
        token = piece * PIECE + start + tl.arange(0, TOKENS)
        valid = token < tokens
        inside = valid[:, None] & (channel < d)[None, :]
        long = token.to(tl.int64)
        r = tl.load(scale + batch * tokens + long, mask=valid, other=0.0)
        k = _features(key_at, long[:, None] * key_row + channel[None, :], r, w, inside)
        c = _angles(cos, batch * angle_tokens, long, valid, d, WIDTH)
        s = _angles(sin, batch * angle_tokens, long, valid, d, WIDTH)
        rows = long[:, None] * value_row + channel[None, :]
        v = tl.load(value_at + rows, mask=inside, other=0.0)
        turned = _rotate(k, c, s, TOKENS, WIDTH).to(v.dtype)
        own_S = tl.dot(tl.trans(v), turned, own_S, input_precision=PRECISION)
        own_z += tl.sum(k, axis=0)
    slot = (piece * tl.num_programs(1) + place).to(tl.int64)
    inside = (channel < d)[:, None] & (channel < d)[None, :]
    tl.store(S + slot * d * d + channel[:, None] * d + channel[None, :], own_S, mask=inside)
    tl.store(z + slot * d + channel, own_z, mask=channel < d)


@triton.jit(do_not_specialize=["tokens", "angle_tokens"])
def apply_sums(
    query, scale, weight, cos, sin, S, z, out, tokens, angle_tokens, eps, query_batch, query_row,
    H: tl.constexpr, d: tl.constexpr, WIDTH: tl.constexpr, TOKENS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Outputs (B, N, D) of one head: `S rope(q) / (z q + eps)`; S and z float32, past included."""
    place = tl.program_id(1)
    batch, head = (place // H).to(tl.int64), place % H
    channel = tl.arange(0, WIDTH)
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    valid = token < tokens
    inside = valid[:, None] & (channel < d)[None, :]
    w = tl.load(weight + head * d + channel, mask=channel < d, other=0.0).to(tl.float32)
    r = tl.load(scale + batch * tokens + token, mask=valid, other=0.0)
    rows = batch * query_batch + token[:, None] * query_row + head * d + channel[None, :]
    q = _features(query, rows, r, w, inside)
    sums = tl.load(z + place * d + channel, mask=channel < d, other=0.0)
    denominator = tl.sum(q * sums[None, :], axis=1) + eps
    c = _angles(cos, batch * angle_tokens, token, valid, d, WIDTH)
    s = _angles(sin, batch * angle_tokens, token, valid, d, WIDTH)
    turned = _rotate(q, c, s, TOKENS, WIDTH)
    both = (channel < d)[:, None] & (channel < d)[None, :]
    at = place * d * d + channel[:, None] * d + channel[None, :]
    total = tl.trans(tl.load(S + at, mask=both, other=0.0))  # key channels first
    result = tl.dot(turned, total, input_precision=PRECISION) / denominator[:, None]
    rows = (batch * tokens + token)[:, None] * (H * d) + head * d + channel[None, :]
    tl.store(out + rows, result.to(out.dtype.element_ty), mask=inside)


@torch.library.custom_op("sana_stream::linear_attention", mutates_args=())
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    past_S: Tensor,
    past_z: Tensor,
    norm_eps: float,
    eps: float,
    piece: int = PIECE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise, rotate and attend.

    Args:
        query, key, value: projections (B, N, D), rows of any stride.
        query_weight, key_weight: of the norms, (D,).
        cos, sin: of the rotary embedding, float32 (B or 1, N, 1, d/2).
        past_S, past_z: float32 (B, H, d, d) and (B, H, d).
        norm_eps: of the norms.
        eps: added to the denominator.
        piece: tokens summed by one program.

    Returns:
        The output (B, N, D) in the dtype of `query`, and this block's own S and z.
    """
    query, key, value = rows_of(query), rows_of(key), rows_of(value)
    batch, tokens, width = query.shape
    heads, d = past_z.shape[1:]
    scales = query.new_empty((2, batch, tokens), dtype=torch.float32)
    pieces = triton.cdiv(tokens, piece)
    S = past_S.new_empty((pieces, batch, heads, d, d))
    z = past_z.new_empty((pieces, batch, heads, d))
    out = query.new_empty((batch, tokens, width))
    cos, sin = cos.contiguous(), sin.contiguous()
    angle_tokens = tokens if cos.shape[0] > 1 else 0
    shapes = {"H": heads, "d": d, "WIDTH": power_of_two(d)}
    apply_tokens, apply_warps = APPLY_HOPPER if is_hopper(query) else APPLY_OTHER
    launch(
        query, row_scales, (triton.cdiv(batch * tokens, NORM_ROWS),),
        query, key, scales[0], scales[1], batch * tokens, tokens, width, norm_eps,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1),
        ROWS=NORM_ROWS, COLUMNS=min(NORM_COLUMNS, power_of_two(width)),
    )  # fmt: skip
    precision = "ieee" if query.dtype == torch.float32 else "tf32"
    launch(
        query, block_sums, (pieces, batch * heads),
        key, scales[1], key_weight, value, cos, sin, S, z, tokens, angle_tokens,
        key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        **shapes, TOKENS=SUM_TOKENS, PIECE=piece, PRECISION=precision, num_warps=SUM_WARPS,
    )  # fmt: skip
    own_S, own_z = S.sum(0), z.sum(0)
    launch(
        query, apply_sums, (triton.cdiv(tokens, apply_tokens), batch * heads),
        query, scales[0], query_weight, cos, sin, past_S + own_S, past_z + own_z, out,
        tokens, angle_tokens, eps, query.stride(0), query.stride(1),
        **shapes, TOKENS=apply_tokens, PRECISION=precision, num_warps=apply_warps,
    )  # fmt: skip
    return out, own_S, own_z


@linear_attention.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, query_weight: Tensor, key_weight: Tensor,
    cos: Tensor, sin: Tensor, past_S: Tensor, past_z: Tensor, norm_eps: float, eps: float,
    piece: int = PIECE,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return query.new_empty(query.shape), torch.empty_like(past_S), torch.empty_like(past_z)
