"""Block linear attention: equality with its definition, additivity, and shifts in time."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.models.attention import AttentionState, linear_attention
from sana_stream.models.rope import (
    RotaryEmbedding,
    apply_rotary_emb,
    rotary_embedding,
    shift_in_time,
)

BATCH, HEADS, HEAD_DIM = 2, 3, 14


def features(tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, BATCH, tokens, HEADS, HEAD_DIM, generator=generator)
    return q.abs(), k.abs(), v


def zeros() -> AttentionState:
    shape = (BATCH, HEADS, HEAD_DIM)
    return AttentionState(torch.zeros(*shape, HEAD_DIM), torch.zeros(shape))


def naive(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rotation: RotaryEmbedding,
    past: AttentionState,
) -> tuple[torch.Tensor, AttentionState]:
    """Compute attention by its definition, token by token, in float64."""
    query, key, value = query.double(), key.double(), value.double()
    turned_query, turned_key = apply_rotary_emb(query, rotation), apply_rotary_emb(key, rotation)
    S, z = past.S.double(), past.z.double()
    for n in range(key.shape[1]):
        S = S + torch.einsum("bhv,bhk->bhvk", value[:, n], turned_key[:, n])
        z = z + key[:, n]
    outputs = [
        torch.einsum("bhvk,bhk->bhv", S, turned_query[:, n])
        / torch.einsum("bhk,bhk->bh", z, query[:, n])[..., None]
        for n in range(query.shape[1])
    ]
    return torch.stack(outputs, dim=1), AttentionState(S - past.S, z - past.z)


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 3, 7), (4, 5, 5)], ids=str)
def test_linear_attention_equals_its_definition(size: tuple[int, int, int]):
    rotation = rotary_embedding(HEAD_DIM, *size, start=37)
    q, k, v = features(size[0] * size[1] * size[2])
    _, past = linear_attention(
        *features(5, seed=1), rotary_embedding(HEAD_DIM, 5, 1, 1, 0), zeros()
    )
    output, own = linear_attention(q, k, v, rotation, past)
    expected, expected_own = naive(q, k, v, rotation, past)
    torch.testing.assert_close(output, expected.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.S, expected_own.S.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own.z, expected_own.z.float(), rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 62), max_size=6))
def test_attention_sums_are_independent_of_token_splits(cuts: set[int]):
    rotation = rotary_embedding(HEAD_DIM, 7, 3, 3, start=2000)
    q, k, v = features(63)
    _, whole = linear_attention(q, k, v, rotation, zeros())
    S, z = zeros()
    edges = [0, *sorted(cuts), 63]
    for low, high in itertools.pairwise(edges):
        part = RotaryEmbedding(rotation.cos[:, low:high], rotation.sin[:, low:high])
        tokens = slice(low, high)
        _, own = linear_attention(q[:, tokens], k[:, tokens], v[:, tokens], part, zeros())
        S, z = S + own.S, z + own.z
    torch.testing.assert_close(S, whole.S, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z, whole.z, rtol=1e-5, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 10**6), frames=st.integers(-(10**6), 10**6))
def test_shift_in_time_equals_recomputed_sums(start: int, frames: int):
    if start + frames < 0:
        frames = -frames
    q, k, v = features(12)
    here, there = (
        linear_attention(q, k, v, rotary_embedding(HEAD_DIM, 3, 2, 2, at), zeros())[1]
        for at in (start, start + frames)
    )
    torch.testing.assert_close(shift_in_time(here.S, frames), there.S, rtol=1e-4, atol=1e-4)


def test_attention_depends_on_relative_positions_only():
    q, k, v = features(12)
    outputs = []
    for origin in (0, 1020, 10**7):  # before, across and far beyond the published table's end
        _, past = linear_attention(
            *features(8, seed=1), rotary_embedding(HEAD_DIM, 2, 2, 2, origin), zeros()
        )
        rotation = rotary_embedding(HEAD_DIM, 3, 2, 2, origin + 2)
        outputs.append(linear_attention(q, k, v, rotation, past)[0])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs[0], outputs[2], rtol=1e-4, atol=1e-5)


def test_apply_rotary_emb_agrees_between_dtypes():
    rotation = rotary_embedding(HEAD_DIM, 3, 2, 2, 1000)
    x = torch.randn(2, 12, 3, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    turned = apply_rotary_emb(x, rotation)  # as complex numbers
    torch.testing.assert_close(
        turned, apply_rotary_emb(x.double(), rotation).float(), rtol=0, atol=1e-6
    )
    spread = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(apply_rotary_emb(spread, rotation), turned)
