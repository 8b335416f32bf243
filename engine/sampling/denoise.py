"""The latents of one block, from noise: the model's velocity in the hands of a solver."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sana_stream.engine.device import to_device
from sana_stream.engine.loading.model import LoadedModel, TransformerCalls
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.models.memory_policy import Past
from sana_stream.models.state import StreamState
from sana_stream.models.transformer import TextKV

from .samplers import SAMPLERS, Velocity


def encode_prompts(model: LoadedModel, snapshot: Snapshot) -> tuple[TextKV, ...]:
    """The prompt's keys and values, and the negative prompt's where guidance needs them."""
    embedded = [model.encode_prompt(snapshot.prompt)]
    if len(snapshot.states) > 1:
        embedded.append(model.encode_negative_prompt(snapshot.negative_prompt))
    return tuple(model.transformer_calls.prepare_text(*pair) for pair in embedded)


def commit_pending(
    transformer: TransformerCalls, snapshot: Snapshot, texts: tuple[TextKV, ...]
) -> tuple[StreamState, ...]:
    """The states with the pending block in them, under the prompt that holds now."""
    pending = snapshot.uncommitted
    if pending is None:
        return snapshot.states
    return tuple(
        state.add(transformer.commit(pending, text, state.past(), state.position))
        for state, text in zip(snapshot.states, texts, strict=True)
    )


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
) -> Tensor:
    """The clean latents of the block after `head`, float32 (1, C, frames, h, w).

    Args:
        model: whose transformer predicts the velocity.
        head: settings, and the latent frames that are given where the stream begins with a picture.
        start: absolute index of the first latent frame.
        frames: latent frames of the block, the given ones included.
        texts: the prompt, and with guidance the negative prompt.
        pasts: what each of them sees of the earlier blocks.
        noise: of the whole block, given frames included.
    """
    settings, given = snapshot.settings, snapshot.fixed_latents
    shape = model.latent_shape(frames, settings.height, settings.width)
    kept = 0 if given is None else given.shape[2]

    def step_noise(step: int) -> Tensor:
        return to_device(noise(step, shape).float(), model.device)[:, :, kept:]

    velocity = _velocity(model, shape, start, texts, pasts, settings.guidance)
    if given is not None:
        velocity = _with_given(velocity, given)
    latents = SAMPLERS[settings.solver](velocity, step_noise, settings.timesteps)
    return latents if given is None else torch.cat((given, latents), dim=2)


def _velocity(
    model: LoadedModel,
    shape: tuple[int, ...],
    start: int,
    texts: tuple[TextKV, ...],
    pasts: list[Past],
    guidance: float,
) -> Callable[[Tensor, float | Tensor], Tensor]:
    """The model's velocity; with two texts `v_negative + g (v - v_negative)`."""
    transformer = model.transformer_calls
    rotation = model.transformer.rotation(torch.empty(shape, device="meta"), start, model.device)

    def velocity(latents: Tensor, timestep: float | Tensor) -> Tensor:
        # filled on the device: a number that is copied there would be waited for
        times = timestep if isinstance(timestep, Tensor) else latents.new_full((1,), timestep)
        predictions = [
            transformer.denoise(latents, times[None], text, past, start, rotation)
            for text, past in zip(texts, pasts, strict=True)
        ]
        if len(predictions) == 1:
            return predictions[0]
        prompted, negative = predictions
        return negative + guidance * (prompted - negative)

    return velocity


def _with_given(velocity: Callable[[Tensor, float | Tensor], Tensor], given: Tensor) -> Velocity:
    """The velocity of a block's other frames, the given ones standing before them at timestep 0."""
    kept = given.shape[2]

    def of_the_rest(latents: Tensor, timestep: float) -> Tensor:
        times = torch.full((kept + latents.shape[2],), timestep, device=latents.device)
        times[:kept] = 0
        return velocity(torch.cat((given, latents), dim=2), times)[:, :, kept:]

    return of_the_rest
