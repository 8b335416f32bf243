"""Denoising of one block: from noise to clean latents, by the model's velocity and a solver."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.models.memory_policy import Past
from sana_stream.models.state import StreamState
from sana_stream.models.transformer import TextKV
from sana_stream.models.upload import to_device

from .samplers import SAMPLERS, Velocity, sample_few_steps
from .schedule import nearest_sigmas


def encode_prompts(model: LoadedModel, snapshot: Snapshot) -> tuple[TextKV, ...]:
    """Keys and values of the prompt and, with guidance, of the negative prompt."""
    embedded = [model.encode_prompt(snapshot.prompt)]
    if len(snapshot.states) > 1:
        embedded.append(model.encode_negative_prompt(snapshot.negative_prompt))
    return tuple(model.transformer_calls.prepare_text(*pair) for pair in embedded)


def commit_pending(
    model: LoadedModel, snapshot: Snapshot, texts: tuple[TextKV, ...]
) -> tuple[StreamState, ...]:
    """The states after committing the last block, under the current prompt.

    Args:
        texts: what `encode_prompts` returned, one for each state.
    """
    latents = snapshot.uncommitted
    if latents is None:
        return snapshot.states
    calls = [
        partial(model.transformer_calls.commit, latents, text, state.past(), state.position)
        for state, text in zip(snapshot.states, texts, strict=True)
    ]
    updates = model.peers.run_calls(calls)
    return tuple(state.add(update) for state, update in zip(snapshot.states, updates, strict=True))


BlockNoise = Callable[[int, tuple[int, ...]], Tensor]
"""`(step, shape) -> tensor` of standard normal noise."""


def denoise_block(
    model: LoadedModel,
    snapshot: Snapshot,
    start: int,
    frames: int,
    texts: tuple[TextKV, ...],
    pasts: list[Past],
    noise: BlockNoise,
    check: Callable[[], None],
) -> Tensor:
    """Denoise the block after a snapshot.

    Args:
        model: whose transformer predicts the velocity.
        snapshot: its settings and, where the stream starts from an image, its fixed latents.
        start: absolute index of the first latent frame.
        frames: latent frames of the block, fixed ones included.
        texts: of the prompt and, with guidance, of the negative prompt.
        pasts: what attention sees of the earlier blocks, one for each text.
        noise: of the whole block, fixed frames included.
        check: called before each network call; what it raises ends the sampling.

    Returns:
        Clean latents float32 (1, C, frames, h, w), normalised.
    """
    settings, fixed = snapshot.settings, snapshot.fixed_latents
    shape = model.latent_shape(frames, settings.height, settings.width)
    kept = 0 if fixed is None else fixed.shape[2]

    def step_noise(step: int) -> Tensor:
        return to_device(noise(step, shape).float(), model.device)[:, :, kept:]

    velocity = _velocity(model, shape, start, texts, pasts, settings.guidance, check)
    if fixed is not None:
        velocity = _after_fixed(velocity, fixed)
    if model.preset.whole_timesteps:
        velocity = _at_whole_timesteps(velocity)
    sample, shift = SAMPLERS[settings.solver], model.preset.sigma_shift
    if sample is sample_few_steps and shift is not None:
        sample = partial(sample_few_steps, sigmas=nearest_sigmas(settings.timesteps, shift))
    latents = sample(velocity, step_noise, settings.timesteps)
    return latents if fixed is None else torch.cat((fixed, latents), dim=2)


def _velocity(
    model: LoadedModel,
    shape: tuple[int, ...],
    start: int,
    texts: tuple[TextKV, ...],
    pasts: list[Past],
    guidance: float,
    check: Callable[[], None],
) -> Callable[[Tensor, float | Tensor], Tensor]:
    """The model's velocity; with two texts `v_negative + g (v - v_negative)`."""
    transformer = model.transformer_calls
    rotation = model.transformer.rotation(torch.empty(shape, device="meta"), start, model.device)

    def velocity(latents: Tensor, timestep: float | Tensor) -> Tensor:
        check()
        # filled on the device: copying a number from the host would wait for the queue
        times = timestep if isinstance(timestep, Tensor) else latents.new_full((1,), timestep)
        calls = [
            partial(transformer.denoise, latents, times[None], text, past, start, rotation)
            for text, past in zip(texts, pasts, strict=True)
        ]
        predictions = model.peers.run_calls(calls)
        if len(predictions) == 1:
            return predictions[0]
        prompted, negative = predictions
        return negative + guidance * (prompted - negative)

    return velocity


def _at_whole_timesteps(velocity: Velocity) -> Velocity:
    """The velocity at timesteps rounded down, as the authors' code calls the network."""
    return lambda latents, timestep: velocity(latents, float(int(timestep)))


def _after_fixed(velocity: Callable[[Tensor, float | Tensor], Tensor], fixed: Tensor) -> Velocity:
    """The velocity of the frames after fixed ones, which are at timestep 0."""
    kept = fixed.shape[2]

    def velocity_after(latents: Tensor, timestep: float) -> Tensor:
        times = torch.full((kept + latents.shape[2],), timestep, device=latents.device)
        times[:kept] = 0
        return velocity(torch.cat((fixed, latents), dim=2), times)[:, :, kept:]

    return velocity_after
