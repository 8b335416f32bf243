"""SANA-Video 2.0 written from its formulas in float64, one token at a time where that is plain.

It takes tensors under their published names. It shares no code with the package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

NEGATIVE = -10000.0


@dataclass(frozen=True)
class Sizes:
    """What cannot be read from the tensors."""

    linear_head_dim: int
    softmax_head_dim: int
    cross_head_dim: int
    softmax_layers: tuple[int, ...]
    layers: int
    group: int  # layers of one attention residual source


def predict(
    weights: Mapping[str, Tensor],
    sizes: Sizes,
    latents: Tensor,
    times: Tensor,
    text: Tensor,
    mask: Tensor,
    denominator: bool = False,
) -> Tensor:
    """Velocity (C, T, h, w) of latents (C, T, h, w) at timesteps (T,), text (L, C), mask (L,)."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    frames, rows, columns = latents.shape[1:]
    kernel = w["x_embedder.proj.weight"][..., 0, 0, 0]
    x = torch.einsum("dc,cthw->thwd", kernel, latents.double()) + w["x_embedder.proj.bias"]
    x = x.reshape(frames * rows * columns, -1)
    conditions = [time_embedding(w, math.floor(float(time))) for time in times]
    of_token = [t for t in range(frames) for _ in range(rows * columns)]
    text = caption(w, text.double())
    places = [(t, r, c) for t in range(frames) for r in range(rows) for c in range(columns)]

    sources, partial = [x], None
    for layer in range(sizes.layers):
        block = {
            name.removeprefix(f"blocks.{layer}."): tensor
            for name, tensor in w.items()
            if name.startswith(f"blocks.{layer}.")
        }
        six = torch.stack([conditions[t][1].view(6, -1) for t in of_token])
        shift, scale, gate, shift2, scale2, gate2 = (block["scale_shift_table"] + six).unbind(1)
        hidden = mean_over_depth(w["attn_res.attn_proj.weight"], sources, partial)
        attend = softmax_attention if layer in sizes.softmax_layers else linear_attention
        update = gate * attend(
            block, layer_norm(hidden) * (1 + scale) + shift, places, sizes, denominator
        )
        update = update + cross_attention(block, hidden + update, text, mask, sizes)
        partial = update if partial is None else partial + update
        hidden = mean_over_depth(w["attn_res.mlp_proj.weight"], sources, partial)
        partial = partial + gate2 * swiglu(block, layer_norm(hidden) * (1 + scale2) + shift2)
        if (layer + 1) % sizes.group == 0 or layer + 1 == sizes.layers:
            sources, partial = [*sources, partial], None
    x = mean_over_depth(w["attn_res.final_proj.weight"], sources, None)
    ends = torch.stack([w["final_layer.scale_shift_table"] + conditions[t][0] for t in of_token])
    x = linear(w, "final_layer.linear", layer_norm(x) * (1 + ends[:, 1]) + ends[:, 0])
    return x.reshape(frames, rows, columns, -1).permute(3, 0, 1, 2)


def linear(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    y = torch.einsum("oi,...i->...o", w[f"{name}.weight"], x)
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)


def rms(x: Tensor, weight: Tensor | float, eps: float) -> Tensor:
    return weight * x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps)


def time_embedding(w: Mapping[str, Tensor], time: float) -> tuple[Tensor, Tensor]:
    # the published code computes angles in float32, which is 5e-5 off at a timestep of 900
    angles = torch.tensor(time) * torch.exp(-math.log(10000.0) / 128 * torch.arange(128.0))
    waves = torch.tensor([f(float(a)) for f in (math.cos, math.sin) for a in angles]).double()
    embedded = linear(w, "t_embedder.mlp.2", silu(linear(w, "t_embedder.mlp.0", waves)))
    return embedded, linear(w, "t_block.1", silu(embedded))


def caption(w: Mapping[str, Tensor], text: Tensor) -> Tensor:
    x = linear(w, "y_embedder.y_proj.fc1", text)
    x = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return rms(linear(w, "y_embedder.y_proj.fc2", x), w["attention_y_norm.weight"], 1e-5)


def mean_over_depth(query: Tensor, sources: list[Tensor], partial: Tensor | None) -> Tensor:
    values = sources if partial is None else [*sources, partial]
    scores = [torch.einsum("od,nd->n", query, rms(value, 1.0, 1e-6)) for value in values]
    powers = [torch.exp(score - max(map(torch.max, scores))) for score in scores]
    total = sum(powers)
    parts = [(p / total)[:, None] * value for p, value in zip(powers, values, strict=True)]
    return torch.stack(parts).sum(0)


def rotate(x: Tensor, places: list[tuple[int, int, int]]) -> Tensor:
    """Turn the channel pairs of (N, H, d) by the angles of their axis, one token after another."""
    head_dim = x.shape[-1]
    side = 2 * (head_dim // 6)
    widths = (head_dim - 2 * side, side, side)
    turned = x.clone()
    for token, place in enumerate(places):
        begin = 0
        for position, width in zip(place, widths, strict=True):
            for i in range(width // 2):
                angle = position * 10000.0 ** (-2 * i / width)
                a, b = x[token, :, begin + 2 * i], x[token, :, begin + 2 * i + 1]
                turned[token, :, begin + 2 * i] = a * math.cos(angle) - b * math.sin(angle)
                turned[token, :, begin + 2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
            begin += width
    return turned


def features(
    block: Mapping[str, Tensor], x: Tensor, head_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = linear(block, "attn.qkv", x).chunk(3, dim=-1)
    q = rms(q, block["attn.q_norm.weight"], 1e-5)
    k = rms(k, block["attn.k_norm.weight"], 1e-5)
    heads = (len(x), -1, head_dim)
    return q.reshape(heads), k.reshape(heads), v.reshape(heads)


def linear_attention(
    block: Mapping[str, Tensor], x: Tensor, places: list, sizes: Sizes, denominator: bool
) -> Tensor:
    q, k, v = features(block, x, sizes.linear_head_dim)
    beta = sigmoid(linear(block, "attn.beta_proj", x))
    turned_q, turned_k = rotate(q, places), rotate(k, places)
    scores = torch.einsum("nhd,mhd->hnm", turned_q, turned_k) * beta.T[:, None, :]
    out = torch.einsum("hnm,mhd->nhd", scores, v)
    if denominator:
        positive = torch.einsum("nhd,mhd->nh", q.clamp(min=0), k.clamp(min=0))
        out = out / (positive + 1e-8)[..., None]
    out = rms(out, block["attn.o_norm.weight"], 1e-5).reshape(len(x), -1)
    return linear(block, "attn.proj", out * sigmoid(linear(block, "attn.output_gate", x)))


def softmax_attention(
    block: Mapping[str, Tensor], x: Tensor, places: list, sizes: Sizes, denominator: bool
) -> Tensor:
    q, k, v = features(block, x, sizes.softmax_head_dim)
    scores = torch.einsum("nhd,mhd->hnm", rotate(q, places), rotate(k, places))
    scores = torch.exp(scores / math.sqrt(sizes.softmax_head_dim))
    out = torch.einsum("hnm,mhd->nhd", scores / scores.sum(-1, keepdim=True), v)
    gate = sigmoid(linear(block, "attn.output_gate", x))
    return linear(block, "attn.proj", out.reshape(len(x), -1) * gate)


def cross_attention(
    block: Mapping[str, Tensor], x: Tensor, text: Tensor, mask: Tensor, sizes: Sizes
) -> Tensor:
    k, v = linear(block, "cross_attn.kv_linear", text).chunk(2, dim=-1)
    q = rms(linear(block, "cross_attn.q_linear", x), block["cross_attn.q_norm.weight"], 1e-6)
    k = rms(k, block["cross_attn.k_norm.weight"], 1e-6)
    q, k, v = (part.reshape(len(part), -1, sizes.cross_head_dim) for part in (q, k, v))
    scores = torch.einsum("nhd,lhd->hnl", q, k) / math.sqrt(sizes.cross_head_dim)
    scores = scores + (1 - mask.double()) * NEGATIVE
    scores = torch.exp(scores - scores.max(-1, keepdim=True).values)
    out = torch.einsum("hnl,lhd->nhd", scores / scores.sum(-1, keepdim=True), v)
    return linear(block, "cross_attn.proj", out.reshape(len(x), -1))


def swiglu(block: Mapping[str, Tensor], x: Tensor) -> Tensor:
    gate, up = linear(block, "mlp.gate_proj", x), linear(block, "mlp.up_proj", x)
    return linear(block, "mlp.down_proj", silu(gate) * up)
