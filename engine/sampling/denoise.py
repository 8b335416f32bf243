"""Denoising of one block: from noise to clean latents, by the model's velocity and a solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.models.memory_policy import Past
from sana_stream.models.state import StreamState
from sana_stream.models.text_kv import TextKV
from sana_stream.models.upload import to_device

from .calls import Call, Result, Steps
from .prompt_mixing import Embedded, prepare_mix
from .samplers import SAMPLERS, sample_few_steps
from .schedule import nearest_sigmas

Embed = Callable[[str, bool], Embedded]
"""`(prompt, whether it is a negative prompt) -> embeddings and mask`, as `embed_prompt`."""


def embed_prompt(model: LoadedModel, prompt: str, negative: bool) -> Embedded:
    """Embed a prompt or a negative prompt by the model's text encoder."""
    return model.encode_negative_prompt(prompt) if negative else model.encode_prompt(prompt)


def encode_prompts(
    model: LoadedModel, snapshot: Snapshot, embed: Embed | None = None
) -> tuple[TextKV, ...]:
    """Keys and values of the next block's prompts and, with guidance, of its negative prompts.

    Args:
        model: whose transformer projects the embeddings.
        snapshot: has the prompts, with their shares of the next block.
        embed: embeds a prompt, in place of the model's text encoder.
    """
    embed, texts = embed or partial(embed_prompt, model), []
    for _, mix, negative in zip(snapshot.states, snapshot.mixes, (False, True), strict=False):
        embedded = [embed(prompt, negative) for prompt, _ in mix]
        shares = [share for _, share in mix]
        size = sum(embeds.numel() for embeds, _ in embedded)
        prepare = partial(prepare_mix, model.transformer_calls, embedded, shares)
        texts.append(model.lane.run("text", size, prepare))
    return tuple(texts)


def commit_pending(snapshot: Snapshot, texts: tuple[TextKV, ...]) -> Steps[tuple[StreamState, ...]]:
    """The states after committing the last block, under the current prompt.

    Args:
        texts: what `encode_prompts` returned, one for each state.
    """
    latents = snapshot.uncommitted
    if latents is None:
        return snapshot.states
    updates = yield tuple(
        Call(latents, text, state.past(), state.position)
        for state, text in zip(snapshot.states, texts, strict=True)
    )
    return tuple(state.add(update) for state, update in zip(snapshot.states, updates, strict=True))


BlockNoise = Callable[[int, tuple[int, ...]], Tensor]
"""`(step, shape) -> tensor` of standard normal noise."""


def denoise_block(
    model: LoadedModel,
    snapshot: Snapshot,
    start: int,
    frames: int,
    texts: tuple[TextKV, ...],
    pasts: Sequence[Past],
    noise: BlockNoise,
) -> Steps[Tensor]:
    """Denoise the block after a snapshot.

    Args:
        model: whose transformer predicts the velocity.
        snapshot: its settings and, where the stream starts from an image, its fixed latents.
        start: absolute index of the first latent frame.
        frames: latent frames of the block, fixed ones included.
        texts: of the prompt and, with guidance, of the negative prompt.
        pasts: what attention sees of the earlier blocks, one for each text.
        noise: of the whole block, fixed frames included.

    Returns:
        Clean latents float32 (1, C, frames, h, w), normalised, as the value of the generator.
    """
    settings, fixed = snapshot.settings, snapshot.fixed_latents
    shape = model.latent_shape(frames, settings.height, settings.width)
    kept = 0 if fixed is None else fixed.shape[2]
    whole = model.preset.whole_timesteps  # rounded down, as the authors' code calls the network
    rotation = model.transformer.rotation(torch.empty(shape, device="meta"), start, model.device)

    def step_noise(step: int) -> Tensor:
        return to_device(noise(step, shape).float(), model.device)[:, :, kept:]

    sample, shift = SAMPLERS[settings.solver], model.preset.sigma_shift
    if sample is sample_few_steps and shift is not None:
        sample = partial(sample_few_steps, sigmas=nearest_sigmas(settings.timesteps, shift))
    solution = sample(step_noise, settings.timesteps)
    try:
        latents, timestep = next(solution)
        while True:
            timestep = float(int(timestep)) if whole else timestep
            noisy, times = _with_fixed(latents, timestep, fixed)
            predictions = yield tuple(
                Call(noisy, text, past, start, times[None], rotation)
                for text, past in zip(texts, pasts, strict=True)
            )
            velocity = _guided(predictions, settings.guidance)[:, :, kept:]
            latents, timestep = solution.send(velocity)
    except StopIteration as end:
        return end.value if fixed is None else torch.cat((fixed, end.value), dim=2)


def _with_fixed(latents: Tensor, timestep: float, fixed: Tensor | None) -> tuple[Tensor, Tensor]:
    """The model's input: latents after the fixed ones, which are at timestep 0, and timesteps."""
    if fixed is None:
        # filled on the device: copying a number from the host would wait for the queue
        return latents, latents.new_full((1,), timestep)
    kept = fixed.shape[2]
    times = torch.full((kept + latents.shape[2],), timestep, device=latents.device)
    times[:kept] = 0
    return torch.cat((fixed, latents), dim=2), times


def _guided(predictions: Sequence[Result], guidance: float) -> Tensor:
    """The velocity; of two predictions `v_negative + g (v - v_negative)`."""
    if len(predictions) == 1:
        return predictions[0]
    prompted, negative = predictions
    return negative + guidance * (prompted - negative)
