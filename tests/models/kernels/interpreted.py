"""The fused kernels in Triton's interpreter, on CPU tensors in float32, against the plain code.

`test_kernels.py` runs this file, and `interpreted_streams.py`, in a process of its own:
TRITON_INTERPRET must be set before triton is imported. The interpreter's bfloat16 is wrong, so
every tensor is float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st
from triton.runtime import interpreter  # type: ignore[import-not-found]

from sana_stream.engine.loading.presets import GENERIC
from sana_stream.engine.loading.quantize import quantize_network
from sana_stream.models import fp8 as fp8_layers
from sana_stream.models.attention import (
    DENOMINATOR_EPS,
    QK_NORM_EPS,
    AttentionState,
    SelfAttention,
    linear_attention,
)
from sana_stream.models.config import TransformerConfig
from sana_stream.models.feedforward import FeedForward
from sana_stream.models.fp8 import FP8, quantize_rows
from sana_stream.models.kernels import feedforward
from sana_stream.models.kernels.choose import register_kernels
from sana_stream.models.rope import RotaryEmbedding, rotary_embedding
from sana_stream.models.transformer_block import modulate
from sana_stream.models.vae.layers import ResidualBlock, set_kernels
from sana_stream.models.vae.layout import set_channels_last
from sana_stream.models.vae.registry import build_vae, read_vae_config

from ..test_transformer import build, empty, inputs, relative_error
from ..vae.ltx2_pairs import PLAIN


def convert_as_torch(convert: Any) -> Any:
    """Conversion to fp8 by torch: the interpreter loses the carry of a rounded mantissa."""

    def converted(data: Any, source: Any, target: Any, rounding: Any) -> Any:
        if target != tl.float8e4nv or source != tl.float32:
            return convert(data, source, target, rounding)
        values = torch.from_numpy(np.ascontiguousarray(data).view(np.float32))
        return values.to(FP8).view(torch.uint8).numpy()

    return converted


interpreter._convert_float = convert_as_torch(interpreter._convert_float)
register_kernels()
OPS = torch.ops.sana_stream
few = settings(max_examples=4, derandomize=True, database=None)
CLOSE = 1e-5  # relative, float32: another order of summation


def config(heads: int, head_dim: int, mlp_ratio: float = 2.0) -> TransformerConfig:
    return TransformerConfig(
        in_channels=4,
        out_channels=4,
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        num_layers=1,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=head_dim,
        cross_attention_dim=heads * head_dim,
        caption_channels=8,
        mlp_ratio=mlp_ratio,
    )


def attention_arguments(
    heads: int, head_dim: int, size: tuple[int, int, int], batch: int, starts: int
) -> tuple[SelfAttention, torch.Tensor, RotaryEmbedding, AttentionState]:
    layer = SelfAttention(config(heads, head_dim)).requires_grad_(False)
    for norm in (layer.norm_q, layer.norm_k):
        norm.weight.normal_(1, 0.2)
    x = torch.randn(batch, size[0] * size[1] * size[2], heads * head_dim)
    start = torch.arange(7, 7 + starts)
    past = AttentionState(
        torch.randn(batch, heads, head_dim, head_dim), torch.rand(batch, heads, head_dim) * 5
    )
    return layer, x, rotary_embedding(head_dim, *size, start), past


@few
@given(
    heads=st.integers(1, 3),
    head_dim=st.sampled_from([6, 14, 16, 32]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7)),
    batch=st.sampled_from([1, 2]),
    each_start=st.booleans(),
)
def test_linear_attention_equals_the_plain_code(heads, head_dim, size, batch, each_start):
    given_ = attention_arguments(heads, head_dim, size, batch, batch if each_start else 1)
    layer, x, rotation, past = given_
    expected, own = linear_attention(*layer.features(x), rotation, past)
    width = x.shape[-1]
    joined = torch.cat([part(x) for part in (layer.to_q, layer.to_k, layer.to_v)], dim=-1)
    query, key, value = joined.split(width, dim=-1)  # rows with a stride, as of one product
    weights = layer.norm_q.weight, layer.norm_k.weight
    arguments = (query, key, value, *weights, *rotation, *past, QK_NORM_EPS, DENOMINATOR_EPS, 32)
    output, S, z = OPS.linear_attention(*arguments)
    assert relative_error(output, expected.flatten(2)) < CLOSE
    assert relative_error(S, own.S) < CLOSE
    assert relative_error(z, own.z) < CLOSE
    assert all(map(torch.equal, OPS.linear_attention(*arguments), (output, S, z)))


@few
@given(
    frames=st.integers(1, 3),
    height=st.integers(1, 5),
    width=st.integers(1, 11),
    channels=st.sampled_from([1, 5, 33]),
)
def test_gated_depthwise_equals_the_plain_code(frames, height, width, channels):
    layer = FeedForward(config(2, 6)).requires_grad_(False)
    depth = torch.nn.Conv2d(
        2 * channels, 2 * channels, 3, padding=1, groups=2 * channels
    ).requires_grad_(False)
    hidden = torch.randn(frames, height * width, 2 * channels)
    layer.conv_inverted = torch.nn.Linear(2 * channels, 2 * channels, bias=False)
    layer.conv_inverted.weight.data = torch.eye(2 * channels)
    value, gate = depth(layer.expand(hidden, height, width)).permute(0, 2, 3, 1).chunk(2, -1)
    expected = (value * torch.nn.functional.silu(gate)).flatten(1, 2)
    output = OPS.gated_depthwise(hidden, depth.weight, depth.bias, height, width)
    assert relative_error(output, expected) < CLOSE


@few
@given(
    batch=st.integers(1, 2),
    frames=st.integers(1, 3),
    tokens=st.integers(1, 4),
    width=st.sampled_from([6, 16, 42, 130]),
    each_frame=st.booleans(),
)
def test_sums_and_norms_equal_the_plain_code(batch, frames, tokens, width, each_frame):
    x, branch = torch.randn(2, batch, frames, tokens, width) + 3
    table = torch.randn(batch, frames if each_frame else 1, 6, width)
    shift, scale, gate, *_ = table.unsqueeze(2).unbind(3)
    assert relative_error(OPS.gated_sum(x, branch, gate), x + gate * branch) < CLOSE
    normed = OPS.modulated_norm(x, shift, scale, 1e-6)
    assert relative_error(normed, modulate(x, shift, scale, 1e-6)) < CLOSE
    total, normed = OPS.sum_norm(x, branch, None, shift, scale, 1e-6)
    assert torch.equal(total, x + branch)
    assert relative_error(normed, modulate(x + branch, shift, scale, 1e-6)) < CLOSE
    both = OPS.sum_norm(x, branch, gate, shift, scale, 1e-6)
    total = OPS.gated_sum(x, branch, gate)
    separate = total, OPS.modulated_norm(total, shift, scale, 1e-6)
    assert all(map(torch.equal, both, separate))  # one pass, the same numbers
    for own, plain in (
        (OPS.quantize_rows(x), x),
        (OPS.modulated_norm_fp8(total, shift, scale, 1e-6), separate[1]),
        (OPS.gated_sum_fp8(x, branch, gate)[1:], total),
        (OPS.sum_norm_fp8(x, branch, gate, shift, scale, 1e-6)[1:], separate[1]),
    ):
        assert_same_fp8(own, plain)


def assert_same_fp8(own: Any, plain: torch.Tensor) -> None:
    """Rows that are quantized as the plain code does it."""
    expected = quantize_rows(plain)
    assert torch.equal(own[1], expected.scale)
    assert torch.equal(own[0].view(torch.uint8), expected.values.view(torch.uint8))


@few
@given(batch=st.integers(1, 2), frames=st.integers(1, 4), tokens=st.integers(1, 5))
def test_temporal_conv_equals_the_plain_code(batch, frames, tokens):
    layer = FeedForward(config(2, 6)).requires_grad_(False)
    layer.set_layout()
    x, state = torch.randn(batch, frames, tokens, 12), torch.randn(batch, tokens, 12)
    output = OPS.temporal_conv(x, state, layer.conv_temp.weight)
    assert relative_error(output, layer.temporal_conv(x, state)) < CLOSE
    assert_same_fp8(OPS.neighbours_fp8(x, state), layer.neighbours(x, state))


@pytest.mark.parametrize(
    ("frames", "each_frame", "fp8"), [(1, False, False), (2, True, False), (2, True, True)]
)
@torch.no_grad()
def test_a_fused_transformer_equals_the_plain_one(
    frames: int, each_frame: bool, fp8: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feedforward, "CHANNELS", 128)  # one program for all channels
    _, model = build()
    if fp8:
        monkeypatch.setattr(fp8_layers, "MULTIPLE", 1)  # a tiny model's sides
        quantize_network(model, "fp8", GENERIC.full_precision)
    latents, embeds, mask = inputs(model, 1, frames, 4, 6)
    timestep = torch.linspace(0, 900, frames)[None] if each_frame else torch.tensor([900.0])
    text = model.prepare_text(embeds, mask)
    state = empty(model, latents)
    results = []
    for fused in (False, True):
        model.set_kernels(fused)
        first = model.commit(latents, text, state.past(), 0)
        past = state.add(first).past()
        again = model.commit(latents, text, past, frames)
        velocity = model.denoise(latents, timestep, text, past, frames)
        results.append((velocity, *again.sums, again.conv_state))
    for plain, own in zip(*results, strict=True):
        # a sum in another order rounds a few values to the next fp8 number
        assert relative_error(own, plain) < (2e-2 if fp8 else 1e-4)


PIECES = st.sampled_from([[1, 1, 1, 1], [2, 2], [4], [3, 1]])


@few
@given(
    channels=st.sampled_from([(6, 6), (5, 33), (16, 3)]),
    batch=st.integers(1, 2),
    pieces=PIECES,
    height=st.integers(1, 5),
    width=st.integers(1, 7),
)
def test_a_fused_residual_block_equals_the_plain_one(channels, batch, pieces, height, width):
    block = ResidualBlock(channels[0], channels[1], 0.0).requires_grad_(False).eval()
    for norm in (block.norm1, block.norm2):
        norm.gamma.normal_(1, 0.2)
    set_channels_last(block)
    x, results = torch.randn(batch, channels[0], sum(pieces), height, width), []
    for fused in (False, True):
        set_kernels(block, fused)
        outputs: list[torch.Tensor] = []
        tails: tuple[torch.Tensor, ...] | None = None
        for piece in x.split(pieces, dim=2):
            output, tails = block(piece, None if tails is None else list(tails))
            outputs.append(output)
        assert tails is not None
        results.append((torch.cat(outputs, dim=2), *tails))
    for plain, own in zip(*results, strict=True):
        assert relative_error(own, plain) < CLOSE


@few
@given(
    channels=st.sampled_from([1, 6, 33]),
    frames=st.integers(1, 3),
    history=st.integers(0, 2),
    with_before=st.booleans(),
    eps=st.sampled_from([0.0, 1e-2]),
)
def test_norm_silu_joins_and_keeps_frames(channels, frames, history, with_before, eps):
    """Without a bias, a factor or frames before, and with pixels that are all zero."""
    x = torch.randn(2, channels, frames, 3, 5)
    x[0, :, 0, 0, 0] = 0
    before = torch.randn(2, channels, history, 3, 5) if with_before else None
    joined, kept = OPS.norm_silu(x, None, None, before, history, eps)
    scale = (x.square().mean(1, keepdim=True).clamp_min(1e-24) + eps).rsqrt()
    first = torch.zeros(2, channels, history, 3, 5) if before is None else before
    wanted = torch.cat((first, torch.nn.functional.silu(x * scale)), dim=2)
    assert relative_error(joined, wanted) < CLOSE
    assert torch.equal(kept, joined[:, :, frames:])
    assert joined.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("name", ["wan", "ltx2"])
@torch.no_grad()
def test_a_fused_decoder_equals_the_plain_one(name: str):
    torch.manual_seed(0)
    config: dict[str, Any] = {
        **{"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1},
        **{"latents_mean": [0] * 4, "latents_std": [1] * 4, "temperal_downsample": [True]},
        **{"scale_factor_temporal": 2, "scale_factor_spatial": 2},
    }
    if name == "ltx2":
        config = dict(PLAIN, _class_name="AutoencoderKLLTX2Video", decoder_causal=True)
    vae: Any = build_vae(read_vae_config(config)).eval()
    set_channels_last(vae)
    latents, results = torch.randn(1, vae.config.z_dim, 3, 2, 3), []
    for fused in (False, True):
        set_kernels(vae.decoder, fused)
        frames, cache = vae.decode(latents[:, :, :1])
        later, cache = vae.decode(latents[:, :, 1:], cache)
        results.append((frames, later, *cache.tails))
    for number, (plain, own) in enumerate(zip(*results, strict=True)):
        assert number < 2 or own.stride() == plain.stride()  # of tails
        assert relative_error(own, plain) < 1e-4


def test_operators_keep_the_rules_of_compilers():
    """Fake results have the shapes, dtypes and strides of real ones; nothing is changed."""
    layer, x, rotation, past = attention_arguments(2, 6, (2, 2, 3), 1, 1)
    weights = layer.norm_q.weight, layer.norm_k.weight
    attention = (x, x, x, *weights, *rotation, *past, 1e-5, 1e-15)
    hidden, depth = torch.randn(2, 6, 8), torch.nn.Conv2d(8, 8, 3, groups=8).requires_grad_(False)
    tokens, gate = torch.randn(2, 1, 2, 3, 12), torch.randn(1, 1, 1, 12)
    clip = torch.randn(1, 6, 3, 2, 4)
    checks = ("test_schema", "test_faketensor")
    for operator, arguments in (
        (OPS.linear_attention, attention),
        (OPS.gated_depthwise, (hidden, depth.weight, depth.bias, 2, 3)),
        (OPS.gated_sum, (*tokens, gate)),
        (OPS.modulated_norm, (tokens[0], gate, gate, 1e-6)),
        (OPS.sum_norm, (*tokens, gate, gate, gate, 1e-6)),
        (OPS.norm_silu, (clip, gate[0, 0, 0, :6], None, clip[:, :, :2], 2, 0.0)),
        (OPS.bias_sum, (clip, clip + 1, gate[0, 0, 0, :6])),
        (OPS.temporal_conv, (tokens[0], tokens[0, :, 0], torch.randn(12, 12, 3, 1))),
    ):
        torch.library.opcheck(operator.default, arguments, test_utils=checks)
    for operator, arguments in (  # torch cannot compare fp8 results for the other check
        (OPS.quantize_rows, (tokens[0],)),
        (OPS.modulated_norm_fp8, (tokens[0], gate, gate, 1e-6)),
        (OPS.gated_sum_fp8, (*tokens, gate)),
        (OPS.sum_norm_fp8, (*tokens, gate, gate, gate, 1e-6)),
        (OPS.neighbours_fp8, (tokens[0], tokens[0, :, 0])),
    ):
        torch.library.opcheck(operator.default, arguments, test_utils="test_faketensor")
