"""Peak memory of the 2B model on a fake CUDA device, and what the engine expects of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fake_gpu.cuda import DEVICE, GIB, fake_cuda
from fake_gpu.memory import stage_memory
from fake_gpu.sessions import published
from sana_stream.engine.loading import memory_estimate
from sana_stream.engine.loading.memory_estimate import (
    MemoryBreakdown,
    block_decode_bytes,
    denoise_bytes,
    max_decode_frames,
)
from sana_stream.engine.performance.random_model import engine_of
from sana_stream.models.vae.registry import build_vae
from sana_stream.models.vae.streaming import SingleUseCache, VAECache

SHAPES = published("2b-480p")
BLOCK = (1, 16, 10, 60, 104)


def test_peak_of_single_frames_is_as_the_guide_says():
    """Both stages at once, without the text encoder; the estimate is of the plain torch code."""
    counted = stage_memory(SHAPES, decode_frames=1)
    assert counted.weights == pytest.approx(3.97 * GIB, rel=0.01)
    assert counted.kept < 1.97 * GIB
    assert counted.sample < 0.79 * GIB
    assert counted.decode < 1.18 * GIB
    assert counted.peak < 7.9 * GIB
    assert counted.sample <= denoise_bytes(SHAPES.transformer, torch.bfloat16, BLOCK)
    assert counted.decode <= block_decode_bytes(SHAPES.vae, torch.bfloat16, BLOCK, 1)[0]


def test_large_cache_is_on_the_device_once():
    """While it is replaced, one piece of it is there twice."""
    with torch.device("meta"):
        build_vae(SHAPES.vae)  # imports what cannot be imported below
    peaks = []
    with fake_cuda() as trace:
        vae = engine_of(published("2b-480p", 1), DEVICE, "bfloat16").vae
        latents = torch.zeros((1, 16, 1, 60, 104), device=DEVICE)
        cache: VAECache = vae.decode(latents)[1]
        for kind in (VAECache, SingleUseCache):
            given = kind(cache.tails)
            del cache
            trace.clear()
            held = trace.record.held
            cache = vae.decode(latents, given)[1]
            peaks.append(trace.record.peak - held)
            assert bool(given.tails) == (kind is VAECache)
            del given
    assert peaks[0] - peaks[1] > 0.8 * cache.nbytes


def test_stages_that_run_at_once_are_added_up():
    stages: dict[str, Any] = {
        "transformer": 1,
        "vae": 2,
        "text_encoder": 3,
        "kept": 4,
        "denoise": 10,
        "decode": 20,
    }
    assert MemoryBreakdown(**stages).floor == 37
    assert MemoryBreakdown(**stages, at_once=False).floor == 27
    assert MemoryBreakdown(**stages).peak == 40

    def frames(free: float, sampling: float) -> int:
        return max_decode_frames(
            *(SHAPES.vae, torch.bfloat16, BLOCK, int(free * GIB), None, lambda: int(sampling * GIB))
        )

    assert frames(16, 3) < frames(16, 0)
    assert frames(16 - 3, 0) == frames(16, 3)


@pytest.mark.parametrize(("memory", "frames"), [(80, 2), (12, 2), (6, 1)])
def test_two_latent_frames_are_decoded_at_once_by_default(memory: int, frames: int):
    with fake_cuda(memory=memory * GIB):
        engine = engine_of(published("2b-480p", 1), DEVICE, "bfloat16")
        assert engine.decode_frames_for(10, 480, 832) == frames
        engine.decode_frames = 5
        assert engine.decode_frames_for(10, 480, 832) == 5


def test_networks_are_not_measured_at_the_start_of_a_session(monkeypatch: pytest.MonkeyPatch):
    """Not at all where much memory is free, once for each shape where it is short."""
    measured: list[int] = []
    real = memory_estimate.peak_bytes
    monkeypatch.setattr(
        memory_estimate, "peak_bytes", lambda call: (measured.append(1), real(call))[1]
    )
    with fake_cuda(memory=80 * GIB):
        engine_of(published("2b-480p", 1), DEVICE, "bfloat16").session("a red boat")
    assert not measured
    with fake_cuda(memory=13 * GIB):
        engine = engine_of(published("2b-480p", 1), DEVICE, "bfloat16")
        engine.session("a red boat")
        before = len(measured)
        engine.session("the moon")
    assert len(measured) == before
