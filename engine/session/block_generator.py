"""The making of one block: drafted from noise, checked, then decoded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from sana_stream.engine.block import Block, BlockSpan, BlockStats
from sana_stream.engine.cpu import EVERY_BLOCKS, trim_malloc
from sana_stream.engine.device import side_stream_for
from sana_stream.engine.frame_stats import FrameStats, measure_frames, update_reference
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.noise import NoiseSource
from sana_stream.engine.sampling.checks import (
    ATTEMPT_STEPS,
    check_states,
    out_of_memory,
    sample_until_finite,
)
from sana_stream.engine.sampling.decode import decode_block
from sana_stream.engine.sampling.denoise import (
    BlockNoise,
    commit_pending,
    denoise_block,
    encode_prompts,
)
from sana_stream.engine.snapshot.snapshot import SessionSettings, Snapshot, blocks_to_keep
from sana_stream.models.state import StreamState
from sana_stream.models.transformer import TextKV
from sana_stream.models.vae.wan import VAECache


class StageTimer:
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
class LatentBlock:
    """A block whose latents are made and whose pictures are not decoded yet."""

    span: BlockSpan
    snapshot: Snapshot  # what it was made from
    after: Snapshot  # what follows it, all but the VAE cache
    meter: StageTimer
    attempts: int
    event: Any  # from when on the latents are whole, on a device with queues

    @property
    def latents(self) -> Tensor:
        """float32 (1, C, T', h, w), normalised."""
        assert self.after.uncommitted is not None
        return self.after.uncommitted


class BlockGenerator:
    """Makes the blocks of one stream, each from the snapshot that it is given.

    It knows no place in the stream. What it keeps is small: the prompts prepared last, how much
    is decoded at a time, the peak of memory. `draft` and `finish` write to nothing in common, so
    that two threads may run them at once.
    """

    def __init__(self, model: LoadedModel, settings: SessionSettings) -> None:
        self._model = model
        self._kept_blocks = blocks_to_keep(settings.block_frames, model.decoder.config)
        self._decode_frames = model.decode_frames_for(
            settings.block_frames, settings.height, settings.width
        )
        self._lane = side_stream_for(model.device)
        self._peak_bytes = 0
        self._texts: tuple[TextKV, ...] = ()
        self._texts_of: tuple[str, str] | None = None  # the prompts that they were made from

    @torch.no_grad()
    def sample(self, snapshot: Snapshot, noise: NoiseSource) -> LatentBlock:
        """Commit the block before and make the latents of the one after `head`.

        Reads no VAE cache.

        Raises:
            HealthError: the memory or the latents are not finite, or there is no room on the
                device.
        """
        planned = snapshot.plan(self._model.vae.config.temporal_factor).block(snapshot.next_index)
        try:
            return self._sample(snapshot, planned, noise)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(planned) from error

    @torch.no_grad()
    def decode(self, latent_block: LatentBlock, before: Snapshot) -> tuple[Block, Snapshot]:
        """Decode a draft: the block, and the snapshot that follows it.

        Where the device has no room, fewer frames are decoded at a time from then on.

        Args:
            before: the finished snapshot that the draft follows.

        Raises:
            HealthError: pictures that are not finite, or no room for a single frame.
        """
        latents, planned = latent_block.latents, latent_block.span
        decode = partial(self._decode, latents, before, planned)
        with latent_block.meter.stage("decode"):
            frames, cache = self._lane.run(decode, latent_block.event, latents)
        if planned.index % EVERY_BLOCKS == 0:
            trim_malloc()
        look = measure_frames(frames)
        beginning = update_reference(
            before.reference_stats, look, planned.index - latent_block.snapshot.shot.index
        )
        after = replace(latent_block.after, cache=cache, reference_stats=beginning)
        stats = self._stats(latent_block, after, look, look.ratio_to(beginning))
        prompt = latent_block.snapshot.prompt
        block = Block(planned.index, planned.start, frames, latents.cpu(), prompt, stats)
        return block, after

    def _sample(self, snapshot: Snapshot, planned: BlockSpan, noise: NoiseSource) -> LatentBlock:
        meter = StageTimer(self._model.device)
        with meter.stage("text"):
            texts = self._encode_prompts(snapshot)
        with meter.stage("commit"):
            states = commit_pending(self._model.transformer_calls, snapshot, texts)
            check_states(states, planned)
        with meter.stage("denoise"):
            latents, attempts = self._denoise(snapshot, planned, texts, states, noise)
        recent = (*snapshot.recent_latents, latents)[-self._kept_blocks :]
        after = replace(
            snapshot,
            next_index=snapshot.next_index + 1,
            states=states,
            recent_latents=recent,
            fixed_latents=None,
        )
        return LatentBlock(planned, snapshot, after, meter, attempts, self._lane.record_event())

    def _encode_prompts(self, snapshot: Snapshot) -> tuple[TextKV, ...]:
        """The prompt's keys and values, and the negative prompt's where guidance needs them."""
        prompts = snapshot.prompt, snapshot.negative_prompt
        if prompts != self._texts_of:
            self._texts = encode_prompts(self._model, snapshot)
            self._texts_of = prompts
        return self._texts

    def _denoise(
        self,
        snapshot: Snapshot,
        planned: BlockSpan,
        texts: tuple[TextKV, ...],
        states: tuple[StreamState, ...],
        noise: NoiseSource,
    ) -> tuple[Tensor, int]:
        """The block's latents, and how many attempts they took."""
        start, frames = planned.latent_start, planned.latent_frames
        pasts = [state.past() for state in states]

        def sample(attempt: int) -> Tensor:
            drawn = _noise_of(noise, planned.index, attempt)
            return denoise_block(self._model, snapshot, start, frames, texts, pasts, drawn)

        latents, attempts = sample_until_finite(sample, planned)
        return latents.contiguous(), attempts  # a saved stream goes on from this same layout

    def _decode(
        self, latents: Tensor, before: Snapshot, planned: BlockSpan
    ) -> tuple[np.ndarray, VAECache | None]:
        """The block's pictures; in smaller steps from the moment that memory runs out."""
        while True:
            try:
                step, to_host = self._decode_frames, self._lane.to_host
                return decode_block(
                    self._model.decoder_calls, latents, before, planned, step, to_host
                )
            except torch.OutOfMemoryError as error:
                if self._decode_frames == 1:
                    raise out_of_memory(planned) from error
            self._decode_frames = max(1, min(self._decode_frames, latents.shape[2]) // 2)

    def _stats(
        self, latent_block: LatentBlock, after: Snapshot, look: FrameStats, drift: float
    ) -> BlockStats:
        meter = latent_block.meter
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
            attempts=latent_block.attempts,
            look=look,
            drift=drift,
        )


def _noise_of(source: NoiseSource, index: int, attempt: int) -> BlockNoise:
    """The noise of one attempt at a block."""

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        return source(index, step + attempt * ATTEMPT_STEPS, shape)

    return noise
