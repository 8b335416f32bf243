"""The teacher-forced pass must be the stateful roll-out, block for block."""

from __future__ import annotations

import pytest
import torch

from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory import parse_policy
from sana_stream.models.state import State
from sana_stream.models.transformer import SanaVideoTransformer
from training.blocks import Layout, Words, kept_weights, velocities

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


@pytest.mark.parametrize("memory", ["decay=0.6", "window=2", "cumulative"])
def test_one_pass_equals_the_roll_out(memory: str) -> None:
    torch.manual_seed(0)
    model = SanaVideoTransformer(CONFIG)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    policy = parse_policy(memory)
    layout = Layout.of([FRAMES + 1] + [FRAMES] * (BLOCKS - 1), policy)
    frames = len(layout.block_of)
    clean = torch.randn(CLIPS, 4, frames, 4, 6)
    noisy = torch.randn(NOISY, CLIPS, 4, frames, 4, 6)
    times = torch.rand(NOISY, CLIPS, BLOCKS)[:, :, layout.block_of] * 1000
    words = _words(layout)
    made = velocities(model, clean, noisy, times, words, layout)

    lengths = layout.block_of.bincount().tolist()
    for clip in range(CLIPS):
        state = State.empty(CONFIG, policy, (2, 3))
        for block in range(BLOCKS):
            cut = slice(sum(lengths[:block]), sum(lengths[: block + 1]))
            for r in range(NOISY):
                text = _text(model, words, 1 + r, clip, cut.start)
                expected = model.denoise(
                    noisy[r, clip : clip + 1, :, cut],
                    times[r, clip : clip + 1, cut],
                    text,
                    state.past(),
                    cut.start,
                )
                torch.testing.assert_close(
                    made[r, clip : clip + 1, :, cut], expected, rtol=1e-4, atol=1e-5
                )
            text = _text(model, words, 0, clip, cut.start)
            block_latents = clean[clip : clip + 1, :, cut]
            state = state.add(model.commit(block_latents, text, state.past(), cut.start))


def test_weights_are_those_of_the_memory() -> None:
    expected = torch.tensor([[0, 0, 0], [1, 0, 0], [0.5, 1, 0]])
    torch.testing.assert_close(kept_weights(3, parse_policy("decay=0.5")), expected)
    expected = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(kept_weights(3, parse_policy("window=1")), expected)


def _words(layout: Layout) -> Words:
    """Five captions; clip 0 changes its caption at block 2, its commit one block earlier."""
    embeds, mask = torch.randn(5, 6, 10), torch.ones(5, 6)
    mask[1, 4:] = 0
    noisy = torch.stack(
        (torch.where(layout.block_of < 2, 0, 1), torch.full_like(layout.block_of, 2))
    )
    clean = torch.stack(
        (torch.where(layout.block_of < 1, 0, 1), torch.full_like(layout.block_of, 2))
    )
    return Words(embeds, mask, torch.stack((clean, noisy, noisy + 2)))


def _text(model: SanaVideoTransformer, words: Words, stream: int, clip: int, frame: int):
    which = words.which[stream, clip, frame]
    return model.prepare_text(words.embeds[which, None], words.mask[which, None])
