"""Packing of weights into few buffers of pinned memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.models.pinned import ALIGNMENT, LAST, pack, pin_weights

from ..tiny_model import tiny_text_encoder

WIDTH, HIDDEN, VOCABULARY, KEYS, QUERIES = 2304, 9216, 256_000, 1024, 2048
LAYER = [2 * WIDTH * size for size in (HIDDEN, HIDDEN, HIDDEN, QUERIES, QUERIES, KEYS, KEYS)]
GEMMA = [2 * WIDTH * VOCABULARY, *(LAYER + 4 * [2 * WIDTH]) * 26, 2 * WIDTH]


def test_gemma_takes_little_more_than_its_size():
    """Rounded up one by one its weights would take two thirds more."""
    buffers, _ = pack(GEMMA)
    alone = sum(1 << (size - 1).bit_length() for size in GEMMA)
    assert alone > 1.6 * sum(GEMMA)
    assert sum(buffers) < 1.01 * sum(GEMMA)
    assert len(buffers) < 12


@given(st.lists(st.integers(0, 1 << 31), max_size=40))
def test_items_lie_apart_in_buffers_of_powers_of_two(sizes: list[int]):
    buffers, places = pack(sizes)
    assert all(size & (size - 1) == 0 for size in buffers)
    ends = [0] * len(buffers)
    for (index, offset), size in sorted(zip(places, sizes, strict=True)):
        assert offset % ALIGNMENT == 0
        assert size == 0 or ends[index] <= offset
        ends[index] = max(ends[index], offset + size)
    assert all(end <= size for end, size in zip(ends, buffers, strict=True))
    assert sum(buffers) <= 2 * sum(sizes) + 2 * LAST


def test_pinned_weights_keep_their_values(monkeypatch: pytest.MonkeyPatch):
    model = tiny_text_encoder()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    objects = dict(model.named_parameters())
    made: list[torch.Tensor] = []
    empty = torch.empty

    def pinned(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        assert pin_memory
        made.append(empty(*shape, **options))
        return made[-1]

    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", pinned)
        pin_weights(model)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert all(weight is objects[name] for name, weight in model.named_parameters())
    storages = {buffer.untyped_storage().data_ptr() for buffer in made}
    own = (*model.parameters(), *model.buffers())
    assert {weight.untyped_storage().data_ptr() for weight in own} == storages
