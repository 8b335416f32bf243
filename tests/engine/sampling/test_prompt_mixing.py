"""Interpolated embeddings against the formulas in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sana_stream.engine.engine import Engine
from sana_stream.engine.sampling.prompt_mixing import prepare_mix, slerp
from sana_stream.models.transformer import MASKED

LENGTH, WIDTH = 12, 24


class Recorder:
    """Stands in for a transformer: keeps what it is asked to project."""

    def __init__(self, model: Engine) -> None:
        self.transformer = model.transformer
        self.embeds = torch.empty(0)

    def prepare_text(self, embeds: Tensor, mask: Tensor):
        self.embeds = embeds
        return self.transformer.prepare_text(embeds, mask)


def prompt(tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    embeds = torch.randn(1, LENGTH, WIDTH, generator=torch.Generator().manual_seed(seed))
    return embeds, (torch.arange(LENGTH) < tokens).long()[None]


def by_hand(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Slerp of directions and lerp of lengths, one pair of vectors at a time."""
    one, other = np.linalg.norm(a), np.linalg.norm(b)
    angle = math.acos(float(a @ b) / (one * other))
    arc = math.sin((1 - share) * angle) * a / one + math.sin(share * angle) * b / other
    return arc / math.sin(angle) * ((1 - share) * one + share * other)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.01, 0.99), tokens=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_each_token_is_interpolated_between_the_prompts_that_have_it(
    tiny_engine: Engine, share: float, tokens: tuple[int, int]
):
    first, second = prompt(tokens[0], 1), prompt(tokens[1], 2)
    recorder = Recorder(tiny_engine)
    text = prepare_mix(recorder, (first, second), (1 - share, share))  # type: ignore[arg-type]
    both, most = min(tokens), max(tokens)
    longer = first if tokens[0] == most else second
    assert text.keys[0].shape[2] == most
    assert torch.equal(recorder.embeds[:, both:most], longer[0][:, both:most])
    a, b = (embeds[0].double().numpy() for embeds, _ in (first, second))
    expected = np.stack([by_hand(a[n], b[n], share) for n in range(both)])
    assert np.allclose(recorder.embeds[0, :both].numpy(), expected, atol=1e-5)
    if both == most:
        assert text.bias is None
        return
    assert text.bias is not None
    alone = 1 - share if tokens[0] == most else share
    weights = text.bias[0, 0, 0].exp()
    assert weights[:both].tolist() == pytest.approx([1] * both, rel=1e-4)
    assert weights[both:].tolist() == pytest.approx([alone] * (most - both), rel=1e-4)


def test_padding_inside_a_mixture_stays_masked(tiny_engine: Engine):
    embeds, mask = prompt(4, 1)
    gap = mask.clone()
    gap[0, 1] = 0
    text = prepare_mix(tiny_engine.transformer, ((embeds, gap), (embeds, gap)), (0.5, 0.5))
    assert text.bias is not None
    assert text.bias[0, 0, 0].tolist() == [0, MASKED, 0, 0]


def test_interpolation_ends_at_its_vectors_and_keeps_equal_ones():
    a, b = torch.randn(2, 5, WIDTH)
    for share, expected in ((0.0, a), (1.0, b)):
        assert torch.allclose(slerp(a, b, torch.full((5, 1), share)), expected, atol=1e-6)
    assert torch.allclose(slerp(a, a, torch.full((5, 1), 0.3)), a, atol=1e-6)
    zero = torch.zeros_like(a)
    assert torch.isfinite(slerp(a, zero, torch.full((5, 1), 0.3))).all()


def test_three_prompts_are_mixed_as_two_after_two(tiny_engine: Engine):
    """A blend that begins in another one continues from the same mixture."""
    parts = [prompt(6, seed) for seed in (1, 2, 3)]
    recorder = Recorder(tiny_engine)
    prepare_mix(recorder, parts[:2], (0.75, 0.25))  # type: ignore[arg-type]
    reached = recorder.embeds, parts[0][1]
    prepare_mix(recorder, (reached, parts[2]), (0.6, 0.4))  # type: ignore[arg-type]
    expected = recorder.embeds
    prepare_mix(recorder, parts, (0.45, 0.15, 0.4))  # type: ignore[arg-type]
    assert torch.allclose(recorder.embeds[:, :6], expected[:, :6], atol=1e-5)
