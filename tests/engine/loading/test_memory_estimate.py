"""Memory estimates, and decoding in steps that fit into memory."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.memory_estimate import (
    decode_bytes,
    denoise_bytes,
    max_decode_frames,
    peak_bytes,
)
from sana_stream.errors import ConfigError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import stream_state_bytes
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.streaming import SingleUseCache, VAECache

WAN = WanVAEConfig(latents_mean=(0.0,) * 16, latents_std=(1.0,) * 16)
BLOCK_480P = (1, 16, 10, 60, 104)
GIB = 1 << 30


def test_peak_counts_simultaneously_live_tensors():
    def work() -> torch.Tensor:
        a = torch.zeros(1000, device="meta")  # 4000 bytes
        b = a + 1
        del a
        c = (b * 2).view(10, 100)  # a view takes no memory
        del b
        return torch.cat((c, c, c))

    assert peak_bytes(work) == 16000


def own_copy(cache: VAECache) -> SingleUseCache:
    return SingleUseCache(tuple(tail.clone() for tail in cache.tails))


def test_estimate_equals_a_run_on_the_cpu(tiny_engine: Engine):
    """The estimate is compared with a run of the same shapes."""
    latents = torch.randn(1, 4, 3, 4, 6)
    vae = tiny_engine.vae
    with torch.no_grad():
        _, cache = vae.decode(latents[:, :, :1])
        real = peak_bytes(lambda: vae.decode(latents, own_copy(cache))) - cache.nbytes
    counted, kept = decode_bytes(vae.config, torch.float32, (1, 4, 3, 4, 6))
    assert kept == cache.nbytes
    assert counted == pytest.approx(real, rel=0.15)


def test_published_block_is_decoded_in_steps_on_a_small_gpu():
    def frames(free: float) -> int:
        return max_decode_frames(WAN, torch.bfloat16, BLOCK_480P, int(free * GIB))

    assert frames(200) == 10
    assert frames(1) == 1
    fits = [frames(free) for free in (4, 8, 16, 24, 40)]
    assert fits == sorted(fits)
    assert 1 < fits[2] < 10
    for free, count in zip((8, 16, 24), fits[1:], strict=False):
        needed, _ = decode_bytes(WAN, torch.bfloat16, (1, 16, count, 60, 104))
        assert needed <= free * GIB


def test_published_state_has_the_estimated_size():
    kept = stream_state_bytes(TransformerConfig(), parse_memory_policy("cumulative"), (30, 52), 2)
    assert kept / (1 << 20) == pytest.approx(152.6, abs=0.05)


def test_denoising_larger_frames_needs_more_memory():
    config = TransformerConfig(num_layers=2)
    small = denoise_bytes(config, torch.bfloat16, (1, 16, 10, 30, 52))
    large = denoise_bytes(config, torch.bfloat16, (1, 16, 10, 60, 104))
    assert large / small == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("pieces", [1, 2])
def test_decoding_in_steps_gives_the_same_stream(
    tiny_folder: Path, tiny_engine: Engine, pieces: int
):
    engine = Engine.load(tiny_folder, "cpu", "float32", decode_frames=pieces)
    sessions = [e.session("a red boat", block_frames=4) for e in (engine, tiny_engine)]
    for _ in range(3):
        one, other = (next(session) for session in sessions)
        assert torch.equal(one.latents, other.latents)
        assert one.frames.shape == other.frames.shape
        assert np.abs(one.frames.astype(int) - other.frames.astype(int)).max() <= 1


def test_resumed_stream_is_decoded_in_steps(tiny_folder: Path, tmp_path: Path):
    engine = Engine.load(tiny_folder, "cpu", "float32", decode_frames=1)
    session = engine.session("a red boat")
    list(itertools.islice(session, 3))
    session.save(tmp_path / "s.safetensors")
    assert np.array_equal(
        next(session).frames, next(engine.resume(tmp_path / "s.safetensors")).frames
    )


def test_zero_frames_per_step_is_refused(tiny_folder: Path):
    with pytest.raises(ConfigError, match="decode_frames 0: give 1 or more"):
        Engine.load(tiny_folder, "cpu", "float32", decode_frames=0)
