"""Streams: same seed same video, switches, snapshots, guidance, and an independent roll-out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.performance.benchmark import shift_position
from sana_stream.engine.session.session import Session
from sana_stream.errors import ConfigError
from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import Past


def take(session: Session, count: int) -> list[Block]:
    return list(itertools.islice(session, count))


def same(one: list[Block], other: list[Block]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a.frames, b.frames) and torch.equal(a.latents, b.latents)
        for a, b in zip(one, other, strict=True)
    )


def test_blocks_have_index_and_start(tiny_engine: Engine):
    blocks = take(tiny_engine.session("a red boat"), 3)
    assert [(b.index, b.start, b.frames.shape) for b in blocks] == [
        (0, 0, (9, 32, 48, 3)),
        (1, 9, (8, 32, 48, 3)),
        (2, 17, (8, 32, 48, 3)),
    ]
    assert all(b.frames.dtype == np.uint8 and b.latents.dtype == torch.float32 for b in blocks)
    assert [tuple(b.latents.shape) for b in blocks] == [(1, 4, n, 4, 6) for n in (3, 2, 2)]


def test_block_is_printed_on_one_line(tiny_engine: Engine):
    block = next(tiny_engine.session("a red boat"))
    text = repr(block)
    assert text.startswith("Block(index=0, start=0, frames=9 of 48x32, ")
    assert "prompt='a red boat'" in text
    assert "\n" not in text
    assert len(text) < 150


def test_seed_determines_the_video(tiny_engine: Engine):
    first = take(tiny_engine.session("a red boat", seed=5), 3)
    assert same(first, take(tiny_engine.session("a red boat", seed=5), 3))
    assert not same(first[:1], take(tiny_engine.session("a red boat", seed=6), 1))


def test_reseed_changes_the_following_blocks(tiny_engine: Engine):
    session = tiny_engine.session("a red boat", seed=5)
    blocks = take(session, 2)
    session.reseed(6)
    at = session.snapshot()
    blocks += take(session, 1)
    straight = take(tiny_engine.session("a red boat", seed=5), 3)
    assert same(blocks[:2], straight[:2])
    assert not same(blocks[2:], straight[2:])
    assert same(blocks[2:], take(tiny_engine.session_from(at), 1))


def test_streams_of_one_engine_are_independent(tiny_engine: Engine):
    alone = take(tiny_engine.session("a red boat", seed=1), 3)
    one, other = tiny_engine.session("a red boat", seed=1), tiny_engine.session("night", seed=2)
    mixed = []
    for _ in range(3):
        mixed.append(next(one))
        next(other)
    assert same(alone, mixed)


def test_switch_changes_only_following_blocks(tiny_engine: Engine):
    straight = take(tiny_engine.session("a red boat"), 4)
    session = tiny_engine.session("a red boat")
    blocks = take(session, 2)
    session.switch("night falls over the sea")
    blocks += take(session, 2)
    assert same(straight[:2], blocks[:2])
    assert not same(straight[2:3], blocks[2:3])
    assert [b.prompt for b in blocks] == ["a red boat"] * 2 + ["night falls over the sea"] * 2


def test_switch_recommits_last_block_under_new_prompt(
    tiny_engine: Engine,
):
    """Recompute the block after a switch from the published rule, with plain sums."""
    session = tiny_engine.session("a red boat", seed=4)
    before = take(session, 2)
    session.switch("night falls")
    after = next(session)

    model, engine = tiny_engine.transformer, tiny_engine
    old, new = (model.prepare_text(*engine.encode_prompt(p)) for p in ("a red boat", "night falls"))
    expected = rollout(engine, [b.latents for b in before], [old, new], new, seed=4)
    error = (after.latents - expected).norm() / expected.norm()
    assert error < 1e-4


@torch.no_grad()
def rollout(
    engine: Engine, clean: list[torch.Tensor], commit_texts: list[Any], text: Any, seed: int
) -> torch.Tensor:
    """Compute the block after `clean` in a naive loop, each committed under its own text."""
    model, config = engine.transformer, engine.transformer.config
    shape = (config.num_layers, 1, config.num_attention_heads, config.attention_head_dim)
    S, z = torch.zeros(*shape, shape[-1]), torch.zeros(shape)
    tail = torch.zeros(config.num_layers, 1, 2 * 3, config.hidden_size)
    start = 0
    for latents, commit_text in zip(clean, commit_texts, strict=True):
        added = model.commit(latents, commit_text, Past(AttentionState(S, z), tail), start)
        S, z, tail = S + added.sums.S, z + added.sums.z, added.conv_state
        start += latents.shape[2]
    noise = counter_noise(seed)
    timesteps = (1000, 960, 889, 727)
    x = x0 = noise(len(clean), 0, (1, 4, 2, 4, 6))
    for i, t in enumerate(timesteps):
        v = model.denoise(
            x, torch.tensor([float(t)]), text, Past(AttentionState(S, z), tail), start
        )
        x0 = x - t / 1000 * v
        if i + 1 < len(timesteps):
            sigma = timesteps[i + 1] / 1000
            x = (1 - sigma) * x0 + sigma * noise(len(clean), i + 1, (1, 4, 2, 4, 6))
    return x0


def test_blockwise_decoding_equals_decoding_at_once(tiny_engine: Engine):
    blocks = take(tiny_engine.session("the train runs"), 4)
    whole = torch.cat([b.latents for b in blocks], dim=2)
    with torch.no_grad():
        pictures, _ = tiny_engine.vae.decode(whole)
    expected = (pictures[0] * 127.5 + 127.5).permute(1, 2, 3, 0).numpy()
    frames = np.concatenate([b.frames for b in blocks]).astype(np.float64)
    assert np.abs(frames - expected).max() <= 0.51  # rounding only


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("memory", ["cumulative", "window=2,sink=1", "decay=0.5"])
def test_snapshot_resumes_exactly(tiny_engine: Engine, guidance: float, memory: str):
    session = tiny_engine.session("a red boat", guidance=guidance, memory=memory)
    snapshots = []
    blocks = []
    for _ in range(5):
        snapshots.append(session.snapshot())
        blocks.append(next(session))
    for i, snapshot in enumerate(snapshots):
        assert same(take(tiny_engine.session_from(snapshot), 5 - i), blocks[i:])


def test_guidance_extrapolates_from_the_negative_prompt(tiny_engine: Engine):
    """`v = v_negative + g (v - v_negative)`: equal prompts cancel, whatever g is."""
    plain = take(tiny_engine.session("a red boat", guidance=1.0), 1)
    guided = take(tiny_engine.session("a red boat", guidance=4.0), 1)
    other = take(tiny_engine.session("a red boat", guidance=4.0, negative_prompt="night"), 1)
    assert not same(plain, guided)
    assert not same(guided, other)


def test_stream_continues_beyond_1024_latent_frames(tiny_engine: Engine):
    """Blocks there equal those at the start, with the past shifted along (RoPE is relative)."""
    session = tiny_engine.session("a red boat", memory="window=2")
    take(session, 3)
    here = session.snapshot()
    far = shift_position(here, 10**6)
    noise = counter_noise(0)
    near_block = next(tiny_engine.session_from(here, noise=lambda b, s, shape: noise(0, s, shape)))
    far_block = next(tiny_engine.session_from(far, noise=lambda b, s, shape: noise(0, s, shape)))
    error = (near_block.latents - far_block.latents).norm() / near_block.latents.norm()
    assert far_block.start > 4 * 10**6
    assert error < 1e-4


def test_state_bytes_are_constant(tiny_engine: Engine):
    blocks = take(tiny_engine.session("a red boat", memory="window=2,sink=1"), 6)
    assert len({b.stats.state_bytes for b in blocks[1:]}) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"height": 33},
            "size 48x33 does not fit this model; use multiples of 16, the nearest is 48x32",
        ),
        ({"width": 0}, "size 0x32 does not fit"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"memory": "most"}, "memory 'most' is not known"),
        ({"timesteps": (5, 10)}, "descending"),
        ({"block_frames": 0}, "block_frames 0"),
        ({"guidance": -1}, "guidance -1 is negative"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_invalid_settings_are_refused(tiny_engine: Engine, setting: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        tiny_engine.session("a red boat", **setting)
