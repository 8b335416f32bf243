"""The teacher-forced pass equals the stateful roll-out, block for block."""

from __future__ import annotations

import pytest
import torch

from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import StreamState
from sana_stream.models.transformer import SanaVideoTransformer
from training.blocks import Layout, RowCaptions, kept_weights, velocities

CONFIG = TransformerConfig(
    in_channels=4,
    out_channels=4,
    num_attention_heads=2,
    attention_head_dim=12,
    num_layers=2,
    num_cross_attention_heads=2,
    cross_attention_head_dim=12,
    cross_attention_dim=24,
    caption_channels=10,
)
BLOCKS, FRAMES, CLIPS, NOISY = 4, 3, 2, 2


@pytest.mark.parametrize("requested", [range(BLOCKS), range(1, 3)])
@pytest.mark.parametrize("memory", ["decay=0.6", "window=2", "cumulative"])
def test_velocities_equal_stateful_rollout(memory: str, requested: range) -> None:
    torch.manual_seed(0)
    model = SanaVideoTransformer(CONFIG)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    policy = parse_memory_policy(memory)
    lengths = [FRAMES + 1] + [FRAMES] * (BLOCKS - 1)
    layout = Layout.of(lengths, policy, requested, NOISY)
    past = torch.randn(CLIPS, 4, sum(lengths), 4, 6)
    noisy = torch.randn(CLIPS, 4, len(layout.noisy), 4, 6)
    times = torch.rand(CLIPS, layout.units)[:, layout.unit] * 1000
    words = _words(layout)
    predicted = velocities(model, past, noisy, times, words, layout)

    for clip in range(CLIPS):
        state = StreamState.empty(CONFIG, policy, (2, 3))
        for block in range(requested.stop):
            start, end = sum(lengths[:block]), sum(lengths[: block + 1])
            for unit in layout.unit[layout.block[layout.clean :] == block].unique().tolist():
                rows = (layout.unit == unit).nonzero().flatten()
                expected = model.denoise(
                    noisy[clip : clip + 1, :, rows],
                    times[clip : clip + 1, rows],
                    _text(model, words, clip, layout.clean + int(rows[0])),
                    state.past(),
                    start,
                )
                torch.testing.assert_close(
                    predicted[clip : clip + 1, :, rows], expected, rtol=1e-4, atol=1e-5
                )
            if end <= layout.clean:
                text = _text(model, words, clip, start)
                block_latents = past[clip : clip + 1, :, start:end]
                state = state.add(model.commit(block_latents, text, state.past(), start))


def test_layout_has_each_noisy_block_once_per_stream() -> None:
    layout = Layout.of([3, 2, 2], parse_memory_policy("window=1"), range(1, 3), streams=2)
    assert layout.clean == 5
    assert layout.time.tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 6, 3, 4, 5, 6]
    assert layout.unit.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    alone = Layout.of([3, 2, 2], parse_memory_policy("window=1"), range(1))
    assert (alone.clean, alone.units, alone.time.tolist()) == (0, 1, [0, 1, 2])


def test_kept_weights_equal_memory_policy() -> None:
    expected = torch.tensor([[0, 0, 0], [1, 0, 0], [0.5, 1, 0]])
    torch.testing.assert_close(kept_weights(3, parse_memory_policy("decay=0.5")), expected)
    expected = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(kept_weights(3, parse_memory_policy("window=1")), expected)


def _words(layout: Layout) -> RowCaptions:
    """Create five captions; clip 0 changes its caption at block 2, its commit a block earlier."""
    embeds, mask = torch.randn(5, 6, 10), torch.ones(5, 6)
    mask[1, 4:] = 0
    rows = torch.arange(len(layout.block))
    changed = (layout.block + (rows < layout.clean).long() >= 2).long()
    noisy = 2 * (rows >= layout.clean).long()
    return RowCaptions(embeds, mask, torch.stack((changed, 2 + noisy)))


def _text(model: SanaVideoTransformer, words: RowCaptions, clip: int, row: int):
    which = words.which[clip, row]
    return model.prepare_text(words.embeds[which, None], words.mask[which, None])
