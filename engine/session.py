"""One stream being generated: blocks out for ever, the prompt changed while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from ..models.past import Past
from ..models.state import State
from ..models.transformer import TextContext
from .block import Block, BlockStats
from .meter import Meter
from .noise import NoiseSource, counter_noise
from .plan import BlockPlan, PlannedBlock
from .sampling import SAMPLERS, Velocity
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .engine import Engine


class Session:
    """An endless iterator of blocks; holds one state and one block of latents, never more."""

    def __init__(
        self, engine: Engine, snapshot: Snapshot, noise: NoiseSource | None = None
    ) -> None:
        self._engine = engine
        self._now = snapshot
        self._noise = noise or counter_noise(snapshot.settings.seed)
        self._plan = BlockPlan(snapshot.settings.block_frames, engine.vae.config.temporal_factor)
        self._meter = Meter(engine.device)
        self._texts: tuple[TextContext, ...] | None = None  # of the current prompts

    @property
    def prompt(self) -> str:
        """The prompt that the next block will have."""
        return self._now.prompt

    @property
    def next_index(self) -> int:
        """Number of the next block."""
        return self._now.index

    @property
    def next_start(self) -> int:
        """First pixel frame of the next block."""
        return self._next.start

    @property
    def next_frames(self) -> int:
        """Pixel frames of the next block."""
        return self._next.frames

    def switch(self, prompt: str, negative_prompt: str | None = None) -> None:
        """Change the prompt (and the negative prompt, where given) from the next block on.

        The block before the switch is committed under the new prompt, on the state from before
        it, when the next block is asked for: a switch costs no extra call (LongLive's KV recache,
        without recomputing anything).
        """
        if negative_prompt is None:
            negative_prompt = self._now.negative_prompt
        if (prompt, negative_prompt) != (self._now.prompt, self._now.negative_prompt):
            self._now = replace(self._now, prompt=prompt, negative_prompt=negative_prompt)
            self._texts = None

    def snapshot(self) -> Snapshot:
        """Where the stream is now; `Engine.session_from` goes on from there."""
        return self._now

    def __iter__(self) -> Self:
        return self

    @torch.no_grad()
    def __next__(self) -> Block:
        """Commit the block before, generate the next one and decode it."""
        planned, now, meter = self._next, self._now, self._meter
        with meter.stage("text"):
            texts = self._texts = self._texts or self._prepare_texts()
        with meter.stage("commit"):
            states = self._commit(texts)
        with meter.stage("denoise"):
            latents = self._sample(planned, texts, [state.past() for state in states])
        with meter.stage("decode"):
            pictures, cache = self._engine.vae.decode(latents, now.cache)
            frames = to_pixels(pictures)
        self._now = replace(now, index=now.index + 1, states=states, pending=latents, cache=cache)
        return Block(now.index, planned.start, frames, latents.cpu(), now.prompt, self._stats())

    @property
    def _next(self) -> PlannedBlock:
        return self._plan.block(self._now.index)

    def _prepare_texts(self) -> tuple[TextContext, ...]:
        """The prompt's keys and values, and the negative prompt's where guidance needs them."""
        engine, now = self._engine, self._now
        embedded = [engine.encode_prompt(now.prompt)]
        if len(now.states) > 1:
            embedded.append(engine.encode_negative_prompt(now.negative_prompt))
        return tuple(engine.transformer.prepare_text(*pair) for pair in embedded)

    def _commit(self, texts: tuple[TextContext, ...]) -> tuple[State, ...]:
        """The states with the pending block in them, under the prompt that holds now."""
        now, pending = self._now, self._now.pending
        if pending is None:
            return now.states
        commit = self._engine.transformer.commit
        return tuple(
            state.add(commit(pending, text, state.past(), state.position))
            for state, text in zip(now.states, texts, strict=True)
        )

    def _sample(
        self, planned: PlannedBlock, texts: tuple[TextContext, ...], pasts: list[Past]
    ) -> Tensor:
        settings, device = self._now.settings, self._engine.device
        shape = self._engine.latent_shape(planned.latent_frames, settings.height, settings.width)

        def noise(step: int) -> Tensor:
            return self._noise(planned.index, step, shape).to(device, torch.float32)

        velocity = self._velocity(planned.latent_start, texts, pasts)
        return SAMPLERS[settings.solver](velocity, noise, settings.timesteps)

    def _velocity(self, start: int, texts: tuple[TextContext, ...], pasts: list[Past]) -> Velocity:
        denoise, guidance = self._engine.transformer.denoise, self._now.settings.guidance

        def velocity(latents: Tensor, timestep: float) -> Tensor:
            times = torch.full((1,), timestep, device=latents.device)
            predictions = [
                denoise(latents, times, text, past, start)
                for text, past in zip(texts, pasts, strict=True)
            ]
            if len(predictions) == 1:
                return predictions[0]
            prompted, negative = predictions
            return negative + guidance * (prompted - negative)

        return velocity

    def _stats(self) -> BlockStats:
        memory = self._meter.memory_bytes()
        seconds = self._meter.take()
        return BlockStats(
            text_seconds=seconds["text"],
            commit_seconds=seconds["commit"],
            denoise_seconds=seconds["denoise"],
            decode_seconds=seconds["decode"],
            memory_bytes=memory,
            peak_memory_bytes=self._meter.peak_bytes,
            state_bytes=self._now.nbytes,
        )


def to_pixels(pictures: Tensor) -> np.ndarray:
    """Pictures (1, 3, T, H, W) in [-1, 1] to uint8 (T, H, W, 3) on the CPU."""
    scaled = (pictures[0].float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(1, 2, 3, 0).contiguous().cpu().numpy()
