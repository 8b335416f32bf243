"""Prompts at weights against the formula of attention in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sana_stream.engine.engine import Engine
from sana_stream.engine.performance.cuda_graphs import GraphedTransformer
from sana_stream.engine.sampling.prompt_mixing import Embedded, prepare_mix
from sana_stream.models.text_kv import MASKED, TextKV

from ..fake_graph_capture import TapeRecorder

LENGTH, WIDTH = 12, 24


def prompt(tokens: int, seed: int) -> Embedded:
    embeds = torch.randn(1, LENGTH, WIDTH, generator=torch.Generator().manual_seed(seed))
    return embeds, (torch.arange(LENGTH) < tokens).long()[None]


def attended(query: Tensor, text: TextKV, layer: int) -> np.ndarray:
    """What the softmax attention of one layer gives, (heads, N, d)."""
    bias = text.bias
    out = F.scaled_dot_product_attention(query, text.keys[layer], text.values[layer], bias)
    return out[0].numpy()


def by_hand(query: Tensor, texts: list[TextKV], shares: list[float], layer: int) -> np.ndarray:
    """Sums of all prompts, each with its share, over the sums of their weights, in float64."""
    top, bottom = np.zeros(1), np.zeros(1)
    for text, share in zip(texts, shares, strict=True):
        keys, values = (part[layer][0].double().numpy() for part in (text.keys, text.values))
        scores = query[0].double().numpy() @ keys.transpose(0, 2, 1) / keys.shape[-1] ** 0.5
        weights = share * np.exp(scores)
        top, bottom = top + weights @ values, bottom + weights.sum(-1, keepdims=True)
    return top / bottom


@settings(max_examples=15, deadline=None)
@given(
    share=st.floats(0.001, 0.999),
    counts=st.lists(st.integers(1, LENGTH), min_size=2, max_size=3),
)
def test_attention_is_interpolated_between_the_prompts(
    tiny_engine: Engine, share: float, counts: list[int]
):
    embedded = [prompt(count, seed) for seed, count in enumerate(counts)]
    shares = [share, *[(1 - share) / (len(counts) - 1)] * (len(counts) - 1)]
    transformer = tiny_engine.transformer
    mixed = prepare_mix(transformer, embedded, shares)
    alone = [transformer.prepare_text(*pair) for pair in embedded]
    keys = mixed.keys[0]
    query = torch.randn(1, keys.shape[1], 5, keys.shape[3])
    for layer in range(len(mixed.keys)):
        expected = by_hand(query, alone, shares, layer)
        assert np.allclose(attended(query, mixed, layer), expected, atol=1e-5)


@pytest.mark.parametrize(("counts", "length"), [((3, 4), 12), ((7, 5), 12), ((7, 6), 24)])
def test_mixture_has_the_shape_of_captured_graphs(
    tiny_engine: Engine, counts: tuple[int, int], length: int
):
    graphed = GraphedTransformer(tiny_engine.transformer, TapeRecorder())
    embedded = [prompt(count, seed) for seed, count in enumerate(counts)]
    text = prepare_mix(graphed, embedded, [0.25, 0.75])
    assert text.keys[0].shape[2] == length
    assert text.bias is not None
    assert text.bias.shape == (1, 1, 1, length)
    assert (text.bias == MASKED).sum() == length - sum(counts)
    one = graphed.prepare_text(*embedded[0])
    assert one.bias is not None
    assert (text.bias.dtype, text.bias.stride()[-1]) == (one.bias.dtype, one.bias.stride()[-1])


def test_one_prompt_is_unchanged(tiny_engine: Engine):
    pair = prompt(5, 1)
    mixed = prepare_mix(tiny_engine.transformer, [pair], [1.0])
    alone = tiny_engine.transformer.prepare_text(*pair)
    assert mixed.bias is alone.bias is None
    assert all(map(torch.equal, mixed.keys + mixed.values, alone.keys + alone.values))
