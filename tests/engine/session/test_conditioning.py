"""Streams that start from an image or a clip, against diffusers and plain recomputation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SanaImageToVideoPipeline
from PIL import Image

from sana_stream.engine.block import BlockPlan
from sana_stream.engine.engine import Engine
from sana_stream.engine.media.resize import cover
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.session.conditioning import whole_blocks
from sana_stream.errors import ConfigError

PROMPT = "a red boat sails over the sea"


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Create smooth moving colours, uint8 (count, height, width, 3)."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(0.3 * t + 0.2 * x + c) + np.cos(0.15 * y - 0.2 * t) for c in range(3)]
    return np.clip(np.stack(waves, axis=-1) * 60 + 127, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_stream_from_image_equals_diffusers(
    tiny_folder: Path, tiny_engine: Engine, guidance: float
):
    pipeline: Any = SanaImageToVideoPipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=8.0)
    image = pictures(1, 32, 64)[0]
    noise = counter_noise(3)(0, 0, tiny_engine.latent_shape(4, 32, 64))
    expected = pipeline(
        Image.fromarray(image),
        PROMPT,
        negative_prompt="night falls",
        num_inference_steps=6,
        guidance_scale=guidance,
        height=32,
        width=64,
        frames=13,
        use_resolution_binning=False,
        complex_human_instruction=list(tiny_engine.preset.instruction),
        max_sequence_length=tiny_engine.preset.max_text_tokens,
        latents=noise.clone(),
        output_type="latent",
    ).frames
    session = tiny_engine.session(
        PROMPT,
        seed=3,
        height=32,
        width=64,
        block_frames=3,
        guidance=guidance,
        negative_prompt="night falls",
        steps=6,
        solver="euler",
        image=image,
    )
    latents = next(session).latents
    assert (latents - expected).norm() / expected.norm() < 1e-3
    assert next(session).start == 13  # the stream continues


def test_first_latent_frame_is_the_encoded_image(tiny_engine: Engine):
    image = pictures(1, 32, 48)[0]
    conditioned = tiny_engine.session(PROMPT, image=image)
    latents = next(conditioned).latents
    with torch.no_grad():
        encoded, _ = tiny_engine.vae.encode(
            torch.from_numpy(image).permute(2, 0, 1)[None, :, None] / 127.5 - 1
        )
    assert torch.equal(latents[:, :, :1], encoded)
    free = next(tiny_engine.session(PROMPT)).latents
    assert not torch.allclose(latents[:, :, 1:], free[:, :, 1:], atol=1e-2)


def test_saved_stream_from_image_resumes_equally(tiny_engine: Engine, tmp_path: Path):
    session = tiny_engine.session(PROMPT, image=pictures(1, 32, 48)[0])
    session.save(tmp_path / "s.safetensors")
    resumed = tiny_engine.resume(tmp_path / "s.safetensors")
    for _ in range(2):
        assert np.array_equal(next(session).frames, next(resumed).frames)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_stream_from_video_equals_stream_of_its_latents(tiny_engine: Engine, guidance: float):
    """A clip's latents, committed as a stream's own blocks, lead to the same next blocks."""
    clip = pictures(25 + 3, 32, 48)  # three blocks of 9 + 8 + 8, and three excess frames
    session = tiny_engine.session(PROMPT, seed=2, guidance=guidance, video=clip)
    assert (session.next_index, session.next_start) == (3, 25)

    with torch.no_grad():
        whole, _ = tiny_engine.vae.encode(
            torch.from_numpy(clip[3:]).permute(3, 0, 1, 2)[None] / 127.5 - 1
        )
    generated = tiny_engine.session(PROMPT, seed=2, guidance=guidance)
    for latents in whole.split((3, 2, 2), dim=2):
        after = generated.sample(generated.snapshot()).after
        generated.advance_to(
            replace(after, recent_latents=(*generated.snapshot().recent_latents, latents))
        )
    for _ in range(2):
        one, other = next(session), next(generated)
        assert (one.index, one.start) == (other.index, other.start)
        assert (one.latents - other.latents).norm() / other.latents.norm() < 1e-5
        assert np.abs(one.frames.astype(int) - other.frames.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("frames", "kept"), [(9, 9), (16, 9), (17, 17), (24, 17), (25, 25), (1000, 993)]
)
def test_video_is_cropped_to_whole_blocks(frames: int, kept: int):
    assert whole_blocks(frames, BlockPlan(2)) == kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"video": pictures(8, 32, 48)}, "the video has 8 frames, and a block needs 9"),
        ({"image": pictures(2, 32, 48)}, r"the image has shape \(2, 32, 48, 3\)"),
        ({"image": np.zeros((32, 48, 3), np.float32)}, "give uint8"),
        ({"image": np.zeros((32, 48, 4), np.uint8)}, "give uint8"),
        ({"image": np.zeros((0, 48, 3), np.uint8)}, "give uint8"),
        (
            {"image": pictures(1, 32, 48)[0], "video": pictures(9, 32, 48)},
            "an image and a video are given",
        ),
    ],
    ids=["short", "not-one", "floats", "alpha", "empty", "both"],
)
def test_session_with_invalid_conditioning_raises(
    tiny_engine: Engine, given: dict[str, np.ndarray], message: str
):
    with pytest.raises(ConfigError, match=message):
        tiny_engine.session(PROMPT, **given)  # type: ignore[arg-type]


def test_published_model_uses_euler_from_an_image(dpm_engine: Engine):
    image = pictures(1, 32, 48)[0]
    assert dpm_engine.session(PROMPT).snapshot().settings.solver == "dpm++"
    assert dpm_engine.session(PROMPT, image=image).snapshot().settings.solver == "euler"
    chosen = dpm_engine.session(PROMPT, image=image, solver="dpm++")
    assert chosen.snapshot().settings.solver == "dpm++"


@pytest.mark.parametrize("size", [(40, 40), (100, 30), (30, 100), (16, 16), (37, 91)])
def test_cover_scales_and_crops_the_centre(size: tuple[int, int]):
    """An image whose colours are its coordinates shows which part is kept, and at which scale."""
    height, width = size
    y, x = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    frame = np.stack((y, x, np.zeros_like(x)), axis=-1).round().astype(np.uint8)
    out = cover(frame[None], 32, 48)[0].astype(float)
    assert out.shape == (32, 48, 3)
    scale = max(32 / height, 48 / width)
    assert abs(out[:, :, 0].mean() - 127.5) < 255 / (height * scale) + 1
    assert abs(out[:, :, 1].mean() - 127.5) < 255 / (width * scale) + 1
    down = (out[-1, 24, 0] - out[0, 24, 0]) / 255 * height * scale
    across = (out[16, -1, 1] - out[16, 0, 1]) / 255 * width * scale
    assert down == pytest.approx(31, abs=3)
    assert across == pytest.approx(47, abs=3)


def test_cover_of_equal_size_returns_input():
    frames = pictures(3, 32, 48)
    assert cover(frames, 32, 48) is frames
