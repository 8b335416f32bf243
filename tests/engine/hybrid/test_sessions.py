"""Sessions of SANA-Video 2.0: four steps, one clip, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.hybrid_presets import SANA2_720P
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.performance.benchmark import run_benchmark
from sana_stream.engine.performance.cuda_graphs import capture_graphs
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.errors import ConfigError
from sana_stream.models.hybrid.transformer import HybridTransformer

from ...hybrid_model import CONFIG

SIZE: dict[str, Any] = {"height": 64, "width": 96}
PROMPT = "a red boat"


def test_four_steps_equal_the_published_sampler(four: Engine):
    """`x0 = x - sigma v`, then fresh noise at the next of four fixed levels."""
    session = four.session(PROMPT, seed=5, block_frames=2, **SIZE)
    block = next(session)
    text = four.transformer.prepare_text(*four.encode_prompt(PROMPT))
    noise, shape = counter_noise(5), (1, CONFIG.in_channels, 3, 2, 3)
    levels = [0.9998332262, 0.9471688271, 0.8568977118, 0.6663702130]
    x = noise(0, 0, shape)
    assert isinstance(four.transformer, HybridTransformer)
    for step, (level, after) in enumerate(zip(levels, [*levels[1:], 0.0], strict=True)):
        velocity = four.transformer.denoise(x, torch.tensor([float(int(1000 * level))]), text)
        x = x - level * velocity
        if after:
            x = (1 - after) * x + after * noise(0, step + 1, shape)
    torch.testing.assert_close(block.latents, x, atol=1e-5, rtol=1e-5)


def test_fifty_steps_equal_the_published_sampler(base: Engine):
    """DPM-Solver++ of second order at flow shift 12 with guidance 8, here in 6 steps."""
    session = base.session(PROMPT, seed=5, block_frames=1, steps=6, **SIZE)
    assert session.snapshot().settings.solver == "dpm++"
    block = next(session)
    plain = [(6 - i) / 6 * 0.999 for i in range(7)]
    levels = [12 * sigma / (1 + 11 * sigma) for sigma in plain]
    texts = [
        base.transformer.prepare_text(*embedded)
        for embedded in (
            base.encode_prompt(PROMPT),
            base.encode_negative_prompt(SANA2_720P.negative_prompt),
        )
    ]
    x, before, step_before = counter_noise(5)(0, 0, (1, CONFIG.in_channels, 2, 2, 3)), None, 0.0
    assert isinstance(base.transformer, HybridTransformer)
    for level, after in pairwise(levels):
        time = torch.tensor([float(int(1000 * level))])
        prompted, negative = (base.transformer.denoise(x, time, text) for text in texts)
        x0 = x - level * (negative + 8 * (prompted - negative))
        here = math.log(1 - level) - math.log(level)
        step = math.log(1 - after) - math.log(after) - here if after else math.inf
        goal = x0
        if before is not None and after:
            goal = x0 + (x0 - before) / (2 * step_before / step)
        x = after / level * x - (1 - after) * math.expm1(-step) * goal
        before, step_before = x0, step
    torch.testing.assert_close(block.latents, x, atol=1e-4, rtol=1e-4)


def test_frames_of_a_clip_equal_the_vae_on_its_own(four: Engine):
    block = next(four.session(PROMPT, block_frames=1, **SIZE))
    assert block.frames.shape == (9, 64, 96, 3)
    frames, _ = four.vae.decode(block.latents)
    pixels = ((frames[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 3, 0).numpy()
    assert np.abs(pixels - block.frames.astype(np.float32)).max() <= 1


def test_a_session_is_one_clip(four: Engine):
    session = four.session(PROMPT, block_frames=1, **SIZE)
    assert not session.is_complete
    session.switch("night falls")  # before the clip it is possible
    blocks = list(session)
    assert [block.prompt for block in blocks] == ["night falls"]
    assert session.is_complete
    assert list(session) == []
    for refused in (lambda: session.switch("day"), lambda: session.sample(session.snapshot())):
        with pytest.raises(ConfigError, match="one clip at a time"):
            refused()
    ahead = list(generate_ahead(four.session("night falls", block_frames=1, **SIZE)))
    assert len(ahead) == 1
    assert np.array_equal(ahead[0].frames, blocks[0].frames)


def test_clips_are_independent_of_what_was_made_before(base: Engine):
    def clip() -> np.ndarray:
        return next(base.session(PROMPT, seed=1, block_frames=1, steps=2, **SIZE)).frames

    first = clip()
    next(base.session("a fox", block_frames=1, steps=2, **SIZE))
    assert np.array_equal(clip(), first)


def test_fifty_step_model_starts_from_an_image(base: Engine):
    image = np.full((64, 96, 3), 200, np.uint8)
    session = base.session(PROMPT, image=image, block_frames=1, steps=2, **SIZE)
    assert session.snapshot().settings.solver == "euler"
    given = session.snapshot().fixed_latents
    block = next(session)
    assert given is not None
    torch.testing.assert_close(block.latents[:, :, :1], given.cpu())
    session.cut(image)  # another clip
    assert not session.is_complete
    assert next(session).index == 1


def test_saved_clip_resumes_at_its_end(four: Engine, tmp_path: Path):
    session = four.session(PROMPT, block_frames=1, **SIZE)
    session.save(tmp_path / "before.safetensors")
    block = next(session)
    assert np.array_equal(next(four.resume(tmp_path / "before.safetensors")).frames, block.frames)
    session.save(tmp_path / "after.safetensors")
    resumed = four.resume(tmp_path / "after.safetensors")
    assert resumed.is_complete
    assert list(resumed) == []


IMAGE = np.zeros((64, 96, 3), np.uint8)
CLIP = np.zeros((20, 64, 96, 3), np.uint8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": "window=2"}, "leave memory= out"),
        ({"video": CLIP}, "leave video= out"),
        ({"image": IMAGE}, "4 steps cannot start from an image: leave image= out"),
        ({"height": 60}, "multiples of 32, the nearest is 96x64"),
    ],
    ids=str,
)
def test_settings_without_effect_are_refused(four: Engine, settings, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        four.session(PROMPT, **(SIZE | settings))
    assert "\n" not in str(caught.value)


def test_cut_to_an_image_is_refused_by_the_four_step_model(four: Engine):
    session = four.session(PROMPT, block_frames=1, **SIZE)
    with pytest.raises(ConfigError, match="cannot start from an image"):
        session.cut(IMAGE)


def test_what_streams_only_is_refused(four: Engine):
    with pytest.raises(ConfigError, match="a benchmark is for models that stream"):
        run_benchmark(four)
    with pytest.raises(ConfigError, match="a CUDA graph is for models that stream"):
        capture_graphs(four)
