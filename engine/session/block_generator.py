"""The making of one block: drafted from noise, checked, then decoded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch import Tensor

from sana_stream.engine.block import Block, BlockStats, PlannedBlock
from sana_stream.engine.cpu import EVERY_BLOCKS, trim_heap
from sana_stream.engine.device import lane_for
from sana_stream.engine.frame_stats import Look, look_of
from sana_stream.engine.noise import NoiseSource
from sana_stream.engine.sampling.checks import (
    ATTEMPT_STEPS,
    beginning_with,
    check_states,
    first_finite,
    no_memory,
)
from sana_stream.engine.sampling.decode import decode_block
from sana_stream.engine.sampling.denoise import BlockNoise, committed, denoised, prepare_texts
from sana_stream.engine.snapshot.snapshot import SessionSettings, Snapshot, blocks_to_keep
from sana_stream.models.state import State
from sana_stream.models.transformer import TextContext
from sana_stream.models.vae.wan import VaeCache

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine


class Meter:
    """Measures the stages of one block."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self.seconds: dict[str, float] = {}
        self.peak_bytes = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside under a name; the caller's queue of the device is waited for."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()
            self.seconds[name] = time.perf_counter() - begin
            self.memory_bytes()

    def memory_bytes(self) -> int:
        """Bytes held now: allocated on a CUDA device, else resident in the process."""
        if self._device.type == "cuda":
            now = torch.cuda.memory_allocated(self._device)
            self.peak_bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            now = self._process.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, now)
        return now


@dataclass(frozen=True, slots=True)
class Draft:
    """A block whose latents are made and whose pictures are not decoded yet."""

    planned: PlannedBlock
    head: Snapshot  # what it was made from
    after: Snapshot  # what follows it, all but the VAE cache
    meter: Meter
    attempts: int
    mark: Any  # from when on the latents are whole, on a device with queues

    @property
    def latents(self) -> Tensor:
        """float32 (1, C, T', h, w), normalised."""
        assert self.after.pending is not None
        return self.after.pending


class BlockMaker:
    """Makes the blocks of one stream, each from the snapshot that it is given.

    It knows no place in the stream. What it keeps is small: the prompts prepared last, how much
    is decoded at a time, the peak of memory. `draft` and `finish` write to nothing in common, so
    that two threads may run them at once.
    """

    def __init__(self, engine: Engine, settings: SessionSettings) -> None:
        self._engine = engine
        self._kept_blocks = blocks_to_keep(settings.block_frames, engine.decoder.config)
        self._decode_frames = engine.decode_frames_for(settings)
        self._lane = lane_for(engine.device)
        self._peak_bytes = 0
        self._texts: tuple[TextContext, ...] = ()
        self._texts_of: tuple[str, str] | None = None  # the prompts that they were made from

    @torch.no_grad()
    def draft(self, head: Snapshot, noise: NoiseSource) -> Draft:
        """Commit the block before and make the latents of the one after `head`.

        Reads no VAE cache.

        Raises:
            HealthError: the memory or the latents are not finite, or there is no room on the
                device.
        """
        planned = head.plan(self._engine.vae.config.temporal_factor).block(head.index)
        try:
            return self._draft(head, planned, noise)
        except torch.OutOfMemoryError as error:
            raise no_memory(planned) from error

    @torch.no_grad()
    def finish(self, draft: Draft, before: Snapshot) -> tuple[Block, Snapshot]:
        """Decode a draft: the block, and the snapshot that follows it.

        Where the device has no room, fewer frames are decoded at a time from then on.

        Args:
            before: the finished snapshot that the draft follows.

        Raises:
            HealthError: pictures that are not finite, or no room for a single frame.
        """
        latents, planned = draft.latents, draft.planned
        decode = partial(self._decode, latents, before, planned)
        with draft.meter.stage("decode"):
            frames, cache = self._lane.run(decode, draft.mark, latents)
        if planned.index % EVERY_BLOCKS == 0:
            trim_heap()
        look = look_of(frames)
        beginning = beginning_with(before.beginning, look, planned.index - draft.head.take.index)
        after = replace(draft.after, cache=cache, beginning=beginning)
        stats = self._stats(draft, after, look, look.drift(beginning))
        prompt = draft.head.prompt
        block = Block(planned.index, planned.start, frames, latents.cpu(), prompt, stats)
        return block, after

    def _draft(self, head: Snapshot, planned: PlannedBlock, noise: NoiseSource) -> Draft:
        meter = Meter(self._engine.device)
        with meter.stage("text"):
            texts = self._prepare_texts(head)
        with meter.stage("commit"):
            states = committed(self._engine.denoiser, head, texts)
            check_states(states, planned)
        with meter.stage("denoise"):
            latents, attempts = self._denoise(head, planned, texts, states, noise)
        recent = (*head.recent, latents)[-self._kept_blocks :]
        after = replace(head, index=head.index + 1, states=states, recent=recent, given=None)
        return Draft(planned, head, after, meter, attempts, self._lane.mark())

    def _prepare_texts(self, head: Snapshot) -> tuple[TextContext, ...]:
        """The prompt's keys and values, and the negative prompt's where guidance needs them."""
        prompts = head.prompt, head.negative_prompt
        if prompts != self._texts_of:
            self._texts = prepare_texts(self._engine, head)
            self._texts_of = prompts
        return self._texts

    def _denoise(
        self,
        head: Snapshot,
        planned: PlannedBlock,
        texts: tuple[TextContext, ...],
        states: tuple[State, ...],
        noise: NoiseSource,
    ) -> tuple[Tensor, int]:
        """The block's latents, and how many attempts they took."""
        start, frames = planned.latent_start, planned.latent_frames
        pasts = [state.past() for state in states]

        def sample(attempt: int) -> Tensor:
            drawn = _noise_of(noise, planned.index, attempt)
            return denoised(self._engine, head, start, frames, texts, pasts, drawn)

        latents, attempts = first_finite(sample, planned)
        return latents.contiguous(), attempts  # a saved stream goes on from this same layout

    def _decode(
        self, latents: Tensor, before: Snapshot, planned: PlannedBlock
    ) -> tuple[np.ndarray, VaeCache | None]:
        """The block's pictures; in smaller steps from the moment that memory runs out."""
        while True:
            try:
                step, to_host = self._decode_frames, self._lane.to_host
                return decode_block(self._engine.painter, latents, before, planned, step, to_host)
            except torch.OutOfMemoryError as error:
                if self._decode_frames == 1:
                    raise no_memory(planned) from error
            self._decode_frames = max(1, min(self._decode_frames, latents.shape[2]) // 2)

    def _stats(self, draft: Draft, after: Snapshot, look: Look, drift: float) -> BlockStats:
        meter = draft.meter
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
            attempts=draft.attempts,
            look=look,
            drift=drift,
        )


def _noise_of(source: NoiseSource, index: int, attempt: int) -> BlockNoise:
    """The noise of one attempt at a block."""

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        return source(index, step + attempt * ATTEMPT_STEPS, shape)

    return noise
