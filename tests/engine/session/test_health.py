"""Health checks: non-finite blocks are regenerated or stop the stream; drift is corrected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sana_stream.engine.engine import Engine
from sana_stream.engine.frame_stats import FrameStats, measure_frames
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.sampling.checks import ATTEMPT_STEPS, ATTEMPTS
from sana_stream.engine.session.drift import anchor_to_sink, check_action, restart_from
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.errors import ConfigError, HealthError
from sana_stream.models.attention import AttentionState
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.streaming import VAECache
from sana_stream.models.vae.wan import WanVAE

from .test_session import same, take

SINK = "window=2,sink=1"


def broken_noise(block: int, attempts: int):
    """Return the seed's noise, non-finite in the first attempts of one block."""
    sound = counter_noise(0)

    def noise(index: int, step: int, shape: tuple[int, ...]) -> torch.Tensor:
        drawn = sound(index, step, shape)
        if index == block and step < attempts * ATTEMPT_STEPS:
            drawn[..., 0] = float("nan")
        return drawn

    return noise


def test_non_finite_block_is_regenerated_with_other_noise(tiny_engine: Engine):
    blocks = take(tiny_engine.session("a red boat", noise=broken_noise(1, attempts=2)), 3)
    straight = take(tiny_engine.session("a red boat"), 3)
    assert [b.stats.attempts for b in blocks] == [1, 3, 1]
    assert [b.stats.attempts for b in straight] == [1, 1, 1]
    assert same(blocks[:1], straight[:1])
    assert all(bool(torch.isfinite(b.latents).all()) for b in blocks)
    assert not same(blocks[1:2], straight[1:2])
    again = take(tiny_engine.session("a red boat", noise=broken_noise(1, attempts=2)), 3)
    assert same(blocks, again)


def test_always_non_finite_block_leaves_session_unchanged(tiny_engine: Engine):
    session = tiny_engine.session("a red boat", noise=broken_noise(2, attempts=ATTEMPTS))
    take(session, 2)
    before = session.snapshot()
    with pytest.raises(
        HealthError, match=r"block 3 \(from frame 17\) has non-finite latents after 3"
    ):
        next(session)
    assert session.snapshot() is before
    assert same([next(tiny_engine.session_from(before))], take_one_more(tiny_engine))


def take_one_more(engine: Engine):
    return take(engine.session("a red boat"), 3)[2:]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_invalid_attention_memory_is_refused(tiny_engine: Engine, value: float):
    session = tiny_engine.session("a red boat")
    take(session, 2)
    state = session.snapshot().states[0]
    slot = state.memory.slots[0]
    bad = replace(slot, sums=AttentionState(slot.sums.S, torch.full_like(slot.sums.z, value)))
    memory = replace(state.memory, slots=(bad,))
    session.advance_to(replace(session.snapshot(), states=(replace(state, memory=memory),)))
    with pytest.raises(HealthError, match=r"memory before block 3 \(from frame 17\)"):
        next(session)


def test_non_finite_frames_are_refused(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch):
    session = tiny_engine.session("a red boat")
    decode = tiny_engine.vae.decode
    monkeypatch.setattr(
        tiny_engine.vae, "decode", lambda *given: (decode(*given)[0] * float("inf"), VAECache(()))
    )
    with pytest.raises(HealthError, match="the frames of block 1 "):
        next(session)


@pytest.mark.parametrize("room", [1, 2])
def test_out_of_memory_decodes_in_smaller_steps(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, room: int
):
    expected = take(tiny_engine.session("a red boat", block_frames=4), 3)
    session, decode, steps = tiny_engine.session("a red boat", block_frames=4), WanVAE.decode, []

    def small(vae: WanVAE, latents: torch.Tensor, cache: VAECache | None):
        if latents.shape[2] > room:
            raise torch.OutOfMemoryError("no room")
        steps.append(latents.shape[2])
        return decode(vae, latents, cache)

    with monkeypatch.context() as patch:
        patch.setattr(WanVAE, "decode", small)
        blocks = take(session, 3)
    assert max(steps) == room
    for block, whole in zip(blocks, expected, strict=True):
        assert torch.equal(block.latents, whole.latents)
        assert np.abs(block.frames.astype(int) - whole.frames).max() <= 1


@pytest.mark.parametrize("part", [(WanVAE, "decode"), (SanaVideoTransformer, "denoise")])
def test_out_of_memory_leaves_session_unchanged(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, part: tuple[type, str]
):
    session = tiny_engine.session("a red boat")
    take(session, 1)
    before = session.snapshot()

    def raise_out_of_memory(*_: object):
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(*part, raise_out_of_memory)
        with pytest.raises(HealthError, match=r"no memory left for block 2 \(from frame 9\)"):
            next(session)
    assert session.snapshot() is before
    assert same(take(session, 2), take(tiny_engine.session("a red boat"), 3)[1:])


def stats_of(frames: np.ndarray) -> FrameStats:
    return FrameStats.mean(measure_frames(torch.from_numpy(frames)))


def test_frame_stats_of_known_frames():
    grey = np.full((2, 8, 8, 3), 51, dtype=np.uint8)
    assert stats_of(grey).values == pytest.approx((0.2, 0, 0), abs=1e-6)
    red = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    assert stats_of(red).values == pytest.approx((0.2126, 0, 1), abs=1e-6)
    halves = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    halves[:, :4] = 255
    assert stats_of(halves).values == pytest.approx((0.5, 0.5, 0), abs=1e-6)


def test_drift_is_the_largest_factor_in_either_direction():
    beginning = FrameStats(0.48, 0.18, 0.28)
    assert beginning.ratio_to(beginning) == 1
    assert FrameStats(0.48, 0.18, 0.88).ratio_to(beginning) == pytest.approx(3)
    assert FrameStats(0.23, 0.03, 0.28).ratio_to(beginning) == pytest.approx(4)


def test_drift_is_relative_to_the_mean_of_first_blocks(tiny_engine: Engine):
    blocks = take(tiny_engine.session("a red boat"), 6)
    looks = [b.stats.look for b in blocks]
    assert looks == [stats_of(b.frames) for b in blocks]
    mean = np.mean([look.values for look in looks[:4] if look], axis=0)
    assert blocks[0].stats.drift == 1
    assert blocks[5].stats.drift == pytest.approx(looks[5].ratio_to(FrameStats(*mean)))  # type: ignore[union-attr]


def one_noise(engine: Engine, snapshot: Snapshot) -> torch.Tensor:
    """Return the next block's latents, with noise independent of the block index."""
    noise = counter_noise(7)
    session = engine.session_from(snapshot, lambda _, step, shape: noise(0, step, shape))
    return next(session).latents


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).norm() / other.norm() < 1e-4)


def test_anchoring_keeps_only_sink_and_last_block(tiny_engine: Engine):
    """The next block equals that of a stream with only the sink and that block."""
    session = tiny_engine.session("a red boat", memory=SINK)
    take(session, 2)
    early = session.snapshot()
    assert torch.equal(one_noise(tiny_engine, anchor_to_sink(early)), one_noise(tiny_engine, early))
    take(session, 4)
    late = session.snapshot()
    tail = late.states[0].conv_state
    short = replace(
        early,
        states=(replace(early.states[0], conv_state=tail),),
        recent_latents=late.recent_latents,
    )
    assert close(one_noise(tiny_engine, anchor_to_sink(late)), one_noise(tiny_engine, short))
    assert not close(one_noise(tiny_engine, late), one_noise(tiny_engine, short))


def test_restart_keeps_only_the_good_block(tiny_engine: Engine):
    session = tiny_engine.session("a red boat", memory="cumulative")
    take(session, 1)
    good = session.snapshot()
    assert same(
        take(tiny_engine.session_from(restart_from(good, good.recovery_point, tiny_engine)), 2),
        take(tiny_engine.session_from(good), 2),
    )
    take(session, 4)
    late = restart_from(session.snapshot(), good.recovery_point, tiny_engine)
    assert (late.next_index, late.prompt, late.cache) == (5, "a red boat", good.cache)
    assert close(one_noise(tiny_engine, late), one_noise(tiny_engine, good))
    assert not close(one_noise(tiny_engine, session.snapshot()), one_noise(tiny_engine, good))


@pytest.mark.parametrize("memory", ["cumulative", "window=3", "decay=0.5"])
def test_anchoring_needs_a_sink(memory: str):
    with pytest.raises(ConfigError, match=f"needs a memory with a sink, this one is {memory}"):
        check_action("anchor", memory)
    check_action("restart", memory)


def test_unknown_guard_is_refused():
    with pytest.raises(ConfigError, match="guard 'save' is not known; use off, warn, anchor"):
        check_action("save", SINK)
