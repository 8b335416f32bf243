"""A decoder cache that is too large for snapshots: held once by the session, rebuilt elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.sampling import decode
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot import snapshot as snapshots
from sana_stream.models.vae.streaming import VAECache
from sana_stream.models.vae.wan import WanVAE

from .test_session import same, take


def start(engine: Engine) -> Session:
    return engine.session("a red boat", seed=4, block_frames=4, timesteps=(1000,))


@pytest.fixture(scope="module")
def straight(tiny_engine: Engine) -> list[Block]:
    """The stream whose cache is in its snapshots."""
    session = start(tiny_engine)
    blocks = take(session, 7)
    assert session.snapshot().cache is not None
    return blocks


@pytest.fixture
def rebuilt(straight: list[Block], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many blocks of latents were decoded again, at each time; caches are held from here on."""
    counts: list[int] = []
    real = decode.rebuild_cache

    def rebuild(decoder: Any, recent: Any, step: int) -> Any:
        counts.append(len(recent))
        return real(decoder, recent, step)

    monkeypatch.setattr(decode, "rebuild_cache", rebuild)
    monkeypatch.setattr(snapshots, "CACHE_LIMIT", 0)
    return counts


@pytest.mark.parametrize("ahead", [False, True])
def test_held_cache_gives_the_same_stream(
    tiny_engine: Engine, straight: list[Block], rebuilt: list[int], ahead: bool
):
    session = start(tiny_engine)
    blocks = generate_ahead(session) if ahead else session
    assert same([next(blocks) for _ in range(7)], straight)
    assert session.snapshot().cache is None
    assert rebuilt == [0]  # nothing, before the first block


def test_state_counts_the_held_cache(
    tiny_engine: Engine, straight: list[Block], rebuilt: list[int]
):
    blocks = take(start(tiny_engine), 3)
    assert [b.stats.state_bytes for b in blocks] == [b.stats.state_bytes for b in straight[:3]]


def test_other_snapshots_rebuild_it(
    tiny_engine: Engine, straight: list[Block], rebuilt: list[int], tmp_path: Path
):
    """An earlier one, a branch, a file, and one decoded a second time."""
    session = start(tiny_engine)
    session.keep_history(60)
    take(session, 4)
    early = session.snapshot()
    session.save(tmp_path / "early.ckpt")
    latent_block = session.sample(early)
    block, after = session.decode(latent_block, early)
    again, after = session.decode(latent_block, early)
    assert same([block, again], straight[4:5] * 2)
    session.advance_to(after)
    assert same(take(session, 2), straight[5:])
    assert same(take(tiny_engine.session_from(early), 3), straight[4:])
    assert same(take(tiny_engine.resume(tmp_path / "early.ckpt"), 3), straight[4:])
    session.rewind((straight[4].frames.shape[0] * 2 + 1) / tiny_engine.preset.fps)
    resumed = session.next_index
    assert resumed < 6
    assert same(take(session, 7 - resumed), straight[resumed:])
    kept = len(early.recent_latents)
    assert rebuilt == [0, kept, kept, kept, kept]


def test_cache_is_rebuilt_after_a_failed_attempt(
    tiny_engine: Engine,
    straight: list[Block],
    rebuilt: list[int],
    monkeypatch: pytest.MonkeyPatch,
):
    """The attempt has consumed the held one."""
    session = start(tiny_engine)
    take(session, 3)
    real = WanVAE.decode_frames
    failed: list[VAECache] = []

    def fail_late(vae: WanVAE, prepared: torch.Tensor, tails: Any) -> Any:
        result = real(vae, prepared, tails)
        if not failed:
            failed.append(VAECache(()))
            raise RuntimeError("a fault")
        return result

    monkeypatch.setattr(WanVAE, "decode_frames", fail_late)
    with pytest.raises(RuntimeError, match="a fault"):
        next(session)
    assert same(take(session, 2), straight[3:5])
    assert len(rebuilt) == 2


def test_cut_starts_without_the_held_cache(
    tiny_engine: Engine, straight: list[Block], monkeypatch: pytest.MonkeyPatch
):
    image, results = straight[0].frames[0], []
    for limit in (snapshots.CACHE_LIMIT, 0):
        monkeypatch.setattr(snapshots, "CACHE_LIMIT", limit)
        session = start(tiny_engine)
        take(session, 2)
        session.cut(image)
        results.append(take(session, 3))
    assert same(*results)
