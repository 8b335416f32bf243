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

SHAPES = published("2b-480p")
BLOCK = (1, 16, 10, 60, 104)


def test_peak_of_single_frames_is_as_the_guide_says():
    """Both stages at once, without the text encoder; the estimate is of the same size."""
    counted = stage_memory(SHAPES, decode_frames=1)
    assert counted.weights == pytest.approx(4.17 * GIB, rel=0.01)
    assert counted.peak < 15.1 * GIB
    denoise = denoise_bytes(SHAPES.transformer, torch.bfloat16, BLOCK)
    decode, _ = block_decode_bytes(SHAPES.vae, torch.bfloat16, BLOCK, 1)
    assert denoise == pytest.approx(counted.sample, rel=0.15)
    assert counted.decode <= decode < 1.3 * counted.decode  # less where kernels are fused


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

    def frames(free: float, beside: float) -> int:
        return max_decode_frames(
            *(SHAPES.vae, torch.bfloat16, BLOCK, int(free * GIB), None, lambda: int(beside * GIB))
        )

    assert frames(16, 3) < frames(16, 0)
    assert frames(16 - 3, 0) == frames(16, 3)


@pytest.mark.parametrize(("memory", "frames"), [(80, 2), (24, 2), (12, 1)])
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
