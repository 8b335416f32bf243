"""Counted operations against formulas written by hand."""

from __future__ import annotations

import pytest

from sana_stream.engine.performance.benchmark import block_cost
from sana_stream.models.config import TransformerConfig
from sana_stream.models.vae.config import WanVAEConfig

WAN = WanVAEConfig((0.0,) * 16, (1.0,) * 16)


def test_the_published_block_costs_what_was_counted_by_hand():
    """Multiply-adds a token and layer: 6 D² attention projections, 3 r D² + 3 D² feed-forward
    matrices, 9·2rD depthwise, 2 d D sums, 2 L D text attention."""
    config = TransformerConfig()
    width, ratio, head, text = config.hidden_size, config.mlp_ratio, config.attention_head_dim, 300
    matrices = 6 * width**2 + 3 * ratio * width**2 + 3 * width**2
    others = 9 * 2 * ratio * width + 2 * head * width + 2 * text * width
    tokens = 10 * 30 * 52
    by_hand = 2 * tokens * config.num_layers * (matrices + others)
    cost = block_cost(config, WAN, 10, 480, 832, steps=4)
    assert cost.denoise_flop == pytest.approx(by_hand, rel=0.01)
    assert cost.calls == 5
    assert cost.decode_flop / 40 == pytest.approx(3.39e12, rel=0.02)  # a picture of 480×832
    assert cost.flop / 40 == pytest.approx(10.6e12, rel=0.02)


def test_cost_grows_with_frames_and_steps_as_it_must():
    small = TransformerConfig(
        num_attention_heads=2,
        attention_head_dim=32,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=32,
        cross_attention_dim=64,
    )
    one, two = (block_cost(small, WAN, n, 64, 64, steps=4) for n in (2, 4))
    assert two.decode_flop == 2 * one.decode_flop
    assert two.denoise_flop == pytest.approx(2 * one.denoise_flop, rel=0.02)
    assert one.flop == 5 * one.denoise_flop + one.decode_flop
