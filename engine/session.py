"""One stream being generated: blocks out for ever, the prompt changed while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from ..models.past import Past
from ..models.state import State
from ..models.transformer import TextContext
from ..models.vae import VaeCache
from .block import Block, BlockStats
from .health import ATTEMPT_STEPS, beginning_with, check_pictures, check_states, first_finite
from .look import look_of
from .meter import Meter
from .noise import NoiseSource, counter_noise
from .plan import BlockPlan, PlannedBlock
from .sampling import SAMPLERS, Velocity
from .snapshot import Snapshot, blocks_to_keep
from .snapshot_file import save_snapshot

if TYPE_CHECKING:
    from .engine import Engine


@dataclass(frozen=True, slots=True)
class Draft:
    """A block whose latents are made and whose pictures are not decoded yet."""

    planned: PlannedBlock
    head: Snapshot  # what it was made from
    after: Snapshot  # what follows it, all but the VAE cache
    meter: Meter
    attempts: int

    @property
    def latents(self) -> Tensor:
        """float32 (1, C, T', h, w), normalised."""
        assert self.after.pending is not None
        return self.after.pending


class Session:
    """An endless iterator of blocks; holds one state and one block of latents, never more."""

    def __init__(
        self, engine: Engine, snapshot: Snapshot, noise: NoiseSource | None = None
    ) -> None:
        self._engine = engine
        self._now = snapshot
        self._noise = noise or counter_noise(snapshot.settings.seed)
        self.plan = BlockPlan(snapshot.settings.block_frames, engine.vae.config.temporal_factor)
        self._kept_blocks = blocks_to_keep(snapshot.settings.block_frames, engine.vae.config)
        self._peak_bytes = 0
        self._texts: tuple[TextContext, ...] = ()
        self._texts_of: tuple[str, str] | None = None  # the prompts that they were made from

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

    def snapshot(self) -> Snapshot:
        """Where the stream is now; `Engine.session_from` goes on from there."""
        return self._now

    def save(self, path: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write where the stream is now to a file, from which `Engine.resume` goes on.

        Args:
            path: replaced as a whole if it is there.
            extra: the caller's own notes, anything that JSON can hold.

        Raises:
            SnapshotError: the file cannot be written; one that was there is as before.
        """
        save_snapshot(Path(path), self._now, self._engine, extra)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Block:
        """Commit the block before, generate the next one and decode it."""
        block, snapshot = self.finish(self.draft(self._now), self._now)
        self.settle(snapshot)
        return block

    @torch.no_grad()
    def draft(self, head: Snapshot) -> Draft:
        """The latents of the block after `head`; reads no VAE cache and changes nothing.

        Raises:
            HealthError: the memory or the latents are not finite; nothing has changed.
        """
        meter, planned = Meter(self._engine.device), self.plan.block(head.index)
        with meter.stage("text"):
            texts = self._prepare_texts(head)
        with meter.stage("commit"):
            states = self._commit(head, texts)
            check_states(states, planned)
        with meter.stage("denoise"):
            pasts = [state.past() for state in states]
            latents, attempts = first_finite(partial(self._sample, planned, texts, pasts), planned)
            latents = latents.contiguous()  # a saved stream goes on from this same layout
        recent = (*head.recent, latents)[-self._kept_blocks :]
        after = replace(head, index=head.index + 1, states=states, recent=recent)
        return Draft(planned, head, after, meter, attempts)

    @torch.no_grad()
    def finish(self, draft: Draft, before: Snapshot) -> tuple[Block, Snapshot]:
        """Decode a draft: the block, and where it leads.

        `before` is the finished snapshot that the draft follows. Raises HealthError for pictures
        that are not finite.
        """
        latents, meter = draft.latents, draft.meter
        prompt, planned = draft.head.prompt, draft.planned
        with meter.stage("decode"):
            cache = before.cache or self._remade_cache(before)
            pictures, cache = self._engine.vae.decode(latents, cache)
            check_pictures(pictures, planned)
            frames = to_pixels(pictures)
        look = look_of(frames)
        beginning = beginning_with(before.beginning, look, planned.index)
        after = replace(draft.after, cache=cache, beginning=beginning)
        stats = replace(
            self._stats(meter, after),
            attempts=draft.attempts,
            look=look,
            drift=look.drift(beginning),
        )
        block = Block(planned.index, planned.start, frames, latents.cpu(), prompt, stats)
        return block, after

    def settle(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot: of the block just delivered, or of an earlier moment."""
        self._now = snapshot

    @property
    def _next(self) -> PlannedBlock:
        return self.plan.block(self._now.index)

    def _prepare_texts(self, head: Snapshot) -> tuple[TextContext, ...]:
        """The prompt's keys and values, and the negative prompt's where guidance needs them."""
        prompts = head.prompt, head.negative_prompt
        if prompts != self._texts_of:
            engine = self._engine
            embedded = [engine.encode_prompt(head.prompt)]
            if len(head.states) > 1:
                embedded.append(engine.encode_negative_prompt(head.negative_prompt))
            self._texts = tuple(engine.transformer.prepare_text(*pair) for pair in embedded)
            self._texts_of = prompts
        return self._texts

    def _commit(self, head: Snapshot, texts: tuple[TextContext, ...]) -> tuple[State, ...]:
        """The states with the pending block in them, under the prompt that holds now."""
        pending, commit = head.pending, self._engine.transformer.commit
        if pending is None:
            return head.states
        return tuple(
            state.add(commit(pending, text, state.past(), state.position))
            for state, text in zip(head.states, texts, strict=True)
        )

    def _remade_cache(self, head: Snapshot) -> VaeCache | None:
        """The decoder's cache of a snapshot that has none, from its recent latents."""
        cache = None
        for latents in head.recent:
            _, cache = self._engine.vae.decode(latents, cache)
        return cache

    def _sample(
        self,
        planned: PlannedBlock,
        texts: tuple[TextContext, ...],
        pasts: list[Past],
        attempt: int,
    ) -> Tensor:
        settings, device = self._now.settings, self._engine.device
        shape = self._engine.latent_shape(planned.latent_frames, settings.height, settings.width)

        def noise(step: int) -> Tensor:
            number = step + attempt * ATTEMPT_STEPS
            return self._noise(planned.index, number, shape).to(device, torch.float32)

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

    def _stats(self, meter: Meter, after: Snapshot) -> BlockStats:
        memory = meter.memory_bytes()
        self._peak_bytes = max(self._peak_bytes, meter.peak_bytes)
        return BlockStats(
            text_seconds=meter.seconds["text"],
            commit_seconds=meter.seconds["commit"],
            denoise_seconds=meter.seconds["denoise"],
            decode_seconds=meter.seconds["decode"],
            memory_bytes=memory,
            peak_memory_bytes=self._peak_bytes,
            state_bytes=after.nbytes,
        )


def to_pixels(pictures: Tensor) -> np.ndarray:
    """Pictures (1, 3, T, H, W) in [-1, 1] to uint8 (T, H, W, 3) on the CPU."""
    scaled = (pictures[0].float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(1, 2, 3, 0).contiguous().cpu().numpy()
