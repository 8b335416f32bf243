"""Whole clips against diffusers' pipelines with the same noise: guidance, solver, decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SanaVideoPipeline,
    UniPCMultistepScheduler,
)

from sana_stream.engine.engine import Engine
from sana_stream.engine.noise import counter_noise
from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import Past

HEIGHT, WIDTH, FRAMES = 32, 64, 13  # one block of 4 latent frames
PROMPT, NEGATIVE = "a red boat sails over the sea", "night falls"
SCHEDULERS = {
    "euler": FlowMatchEulerDiscreteScheduler(shift=8.0),
    "dpm++": DPMSolverMultistepScheduler(
        flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    ),
    "unipc": UniPCMultistepScheduler(
        flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    ),
}


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path) -> Any:
    pipeline = SanaVideoPipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.mark.parametrize("solver", SCHEDULERS)
@pytest.mark.parametrize("guidance", [1.0, 6.0])
def test_first_block_equals_diffusers_pipeline(
    pipeline: Any, tiny_engine: Engine, solver: str, guidance: float
):
    pipeline.scheduler = SCHEDULERS[solver]
    settings = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "num_inference_steps": 8,
        "guidance_scale": guidance,
        "height": HEIGHT,
        "width": WIDTH,
        "frames": FRAMES,
        "use_resolution_binning": False,
        "complex_human_instruction": list(tiny_engine.preset.instruction),
        "max_sequence_length": tiny_engine.preset.max_text_tokens,
    }
    noise = counter_noise(3)(0, 0, tiny_engine.latent_shape(4, HEIGHT, WIDTH))
    latents = pipeline(**settings, latents=noise.clone(), output_type="latent").frames
    frames = pipeline(**settings, latents=noise.clone(), output_type="np").frames[0]

    block = next(
        tiny_engine.session(
            PROMPT,
            seed=3,
            height=HEIGHT,
            width=WIDTH,
            block_frames=3,
            guidance=guidance,
            negative_prompt=NEGATIVE,
            steps=8,
            solver=solver,
            flow_shift=8.0,
        )
    )
    assert block.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert difference(block.latents.numpy(), latents.numpy()) < 1e-3
    assert np.abs(block.frames / 255 - frames).max() < 0.01


@pytest.mark.parametrize("solver", SCHEDULERS)
@torch.no_grad()
def test_guidance_commits_a_state_per_prompt(tiny_engine: Engine, solver: str):
    """Each prompt's state is committed under that prompt, as recomputed with plain sums."""
    settings = {"guidance": 4.0, "negative_prompt": NEGATIVE, "steps": 5, "solver": solver}
    session = tiny_engine.session(PROMPT, seed=9, memory="cumulative", **settings)
    first, second = next(session), next(session)

    model = tiny_engine.transformer
    texts = [
        model.prepare_text(*tiny_engine.encode_prompt(PROMPT)),
        model.prepare_text(*tiny_engine.encode_negative_prompt(NEGATIVE)),
    ]
    n, heads, width = 2, 2, 14
    nothing = Past(
        AttentionState(torch.zeros(n, 1, heads, width, width), torch.zeros(n, 1, heads, width)),
        torch.zeros(n, 1, 6, heads * width),
    )
    pasts = [model.commit(first.latents, text, nothing, 0) for text in texts]

    scheduler = SCHEDULERS[solver]
    scheduler.set_timesteps(5)
    x = counter_noise(9)(1, 0, tuple(second.latents.shape))
    for t in scheduler.timesteps:
        prompted, negative = (
            model.denoise(x, t.float().reshape(1), text, Past(past.sums, past.conv_state), 3)
            for text, past in zip(texts, pasts, strict=True)
        )
        velocity = negative + 4.0 * (prompted - negative)
        x = scheduler.step(velocity, t, x, return_dict=False)[0]
    assert difference(second.latents.numpy(), x.numpy()) < 1e-4
