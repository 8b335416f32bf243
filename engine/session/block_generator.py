"""Generation of one block: sampled from noise, checked, then decoded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any

import psutil
import torch
from torch import Tensor

from sana_stream._prompts import Mix
from sana_stream.engine.block import Block, BlockSpan, BlockStats
from sana_stream.engine.cpu import EVERY_BLOCKS, trim_malloc
from sana_stream.engine.device import side_stream_for
from sana_stream.engine.frame_stats import FrameStats, update_reference
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.noise import NoiseSource
from sana_stream.engine.sampling.calls import Steps
from sana_stream.engine.sampling.checks import (
    ATTEMPT_STEPS,
    check_frames,
    out_of_memory,
    sample_until_finite,
)
from sana_stream.engine.sampling.decode import DecodedBlock, DeliverPart, HeldCache, decode_block
from sana_stream.engine.sampling.denoise import (
    BlockNoise,
    commit_pending,
    denoise_block,
    encode_prompts,
)
from sana_stream.engine.sampling.prompt_mixing import Embedded
from sana_stream.engine.snapshot.snapshot import SessionSettings, Snapshot, blocks_to_keep
from sana_stream.models.state import StreamState
from sana_stream.models.text_kv import TextKV

from .executor import BlockWork, DirectExecutor, Executor, decoding_work, sampling_work
from .parts import PartDelivery, TakePart


class StageTimer:
    """Measures the stages of one block: wall-clock time, on CUDA between events of a stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._spans: dict[str, tuple[Any, Any]] = {}
        self.peak_bytes = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body under a name; on CUDA its work on the current stream, without waiting."""
        begin = self._now()
        try:
            yield
        finally:
            self._spans[name] = begin, self._now()
            self.memory_bytes()

    def seconds(self, name: str) -> float:
        """Seconds of a stage, whose work on the device must be complete."""
        begin, end = self._spans[name]
        if self._device.type == "cuda":
            return begin.elapsed_time(end) / 1000
        return end - begin

    def _now(self) -> Any:
        if self._device.type == "mps":
            torch.mps.synchronize()
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        return torch.cuda.current_stream(self._device).record_event(event)

    def memory_bytes(self) -> int:
        """Bytes in use: allocated on a CUDA device, else resident in the process."""
        if self._device.type == "cuda":
            now = torch.cuda.memory_allocated(self._device)
            self.peak_bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            now = self._process.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, now)
        return now


@dataclass(frozen=True, slots=True)
class LatentBlock:
    """A block with its latents, before its frames are decoded."""

    span: BlockSpan
    snapshot: Snapshot  # it was sampled from
    after: Snapshot  # follows it; without the decoder's cache
    timer: StageTimer
    attempts: int
    event: Any  # after which the latents are complete, on CUDA

    @property
    def latents(self) -> Tensor:
        """float32 (1, C, T', h, w), normalised."""
        assert self.after.uncommitted is not None
        return self.after.uncommitted


class BlockGenerator:
    """Generates the blocks of one stream, each from a given snapshot.

    It has no position in the stream. It only caches the keys and values of the last prompts, how
    many frames are decoded at a time, and the peak of memory. `sample` and `decode` share no state
    that they write, so two threads may run them at once. Two calls of `sample` run one after the
    other.
    """

    def __init__(self, model: LoadedModel, settings: SessionSettings) -> None:
        self._model = model
        self._kept_blocks = blocks_to_keep(settings.block_frames, model.decoder.config)
        self._decode_frames = model.decode_frames_for(
            settings.block_frames, settings.height, settings.width
        )
        self._most_decode_frames = model.decode_frames  # None: no limit
        self._decode_tiles = model.decode_tiles_for(
            settings.block_frames, settings.height, settings.width
        )
        self._must_tile = False  # since memory has run out
        self._side_stream = side_stream_for(model.device)
        self._cache = HeldCache()
        self._peak_bytes = 0
        self._executor: Executor = DirectExecutor(model)
        self._sampling = Lock()
        self._interrupted = False
        self._texts: tuple[TextKV, ...] = ()
        self._texts_of: tuple[Mix, Mix] | None = None  # the prompts that they belong to
        self._embedded: dict[tuple[str, bool], Embedded] = {}  # of the last block

    def sample(self, snapshot: Snapshot, noise: NoiseSource) -> LatentBlock:
        """Commit the last block of a snapshot and sample the latents of the next one.

        The decoder's cache is not read.

        Raises:
            HealthError: states or latents are not finite, or the device has no memory left.
            CancelledError: `interrupt` was called meanwhile.
        """
        with self._sampling:
            self._interrupted = False
            return self._sample_alone(snapshot, noise)

    def interrupt(self) -> None:
        """Make a `sample` that is running raise CancelledError before its next network call."""
        self._interrupted = True
        self._executor.wake()

    @property
    def held_tensors(self) -> tuple[Tensor, ...]:
        """Tensors of the stream that no snapshot has, while no block is decoded."""
        return self._cache.tensors

    def run_on(self, executor: Executor) -> None:
        """Run the networks elsewhere, from the next `sample` and `decode` on."""
        self._executor = executor

    @property
    def executor(self) -> Executor:
        """Where the networks run."""
        return self._executor

    def _check_interrupted(self) -> None:
        if self._model.peers.should_stop(self._interrupted):
            raise CancelledError

    def _sample_alone(self, snapshot: Snapshot, noise: NoiseSource) -> LatentBlock:
        span = snapshot.plan(self._model.vae.config.temporal_factor).block(snapshot.next_index)
        try:
            return self._model.peers.sample(snapshot, noise, partial(self._drive, snapshot, span))
        except torch.OutOfMemoryError as error:
            raise out_of_memory(span) from error

    def _drive(self, snapshot: Snapshot, span: BlockSpan, noise: NoiseSource) -> LatentBlock:
        steps, work = self._sample(snapshot, span, noise), self._work(snapshot, span)
        return self._executor.sample(steps, self._check_interrupted, work)

    def decode(
        self, latent_block: LatentBlock, before: Snapshot, take: TakePart | None = None
    ) -> tuple[Block, Snapshot]:
        """Decode a sampled block.

        Where the device has no memory left, fewer frames are decoded at a time from then
        on; with no memory for a single one, it is decoded again once no block is being sampled.

        Args:
            latent_block: what `sample` returned.
            before: the complete snapshot that the block follows.
            take: is called with each part of the block as soon as it is decoded.

        Returns:
            The block, and the complete snapshot that follows it.

        Raises:
            HealthError: frames are not finite, or no memory for a single frame.
        """
        latents, span = latent_block.latents, latent_block.span
        prompt = latent_block.snapshot.prompt
        parts = None if take is None else PartDelivery(take, span, prompt)
        deliver = None if parts is None else parts.deliver

        def decode(deliver: DeliverPart | None) -> tuple[DecodedBlock, int, bool]:
            work = partial(self._decode, latent_block, before, deliver)
            return self._side_stream.run(work, latent_block.event, latents)

        decoded, pieces, tiles = self._executor.decode(
            decode, deliver, decoding_work(latents.shape)
        )
        check_frames(decoded.finite, span)
        if span.index % EVERY_BLOCKS == 0:
            trim_malloc()
        stats = FrameStats.mean(decoded.stats)
        reference = update_reference(
            before.reference_stats, stats, span.index - latent_block.snapshot.shot.index
        )
        after = replace(
            self._cache.keep(latent_block.after, decoded.cache),
            reference_stats=reference,
            decode_frames=pieces,
            decode_tiles=tiles,
        )
        measured = self._stats(latent_block, after, stats, stats.ratio_to(reference))
        if parts is not None:
            parts.restore(decoded.frames)
        frames = decoded.frames.numpy()
        fps = float(self._model.preset.fps)
        block = Block(span.index, span.start, frames, decoded.latents, prompt, measured, fps)
        return block, after

    def _work(self, snapshot: Snapshot, span: BlockSpan) -> BlockWork:
        settings, commit = snapshot.settings, snapshot.uncommitted is not None
        shape = self._model.latent_shape(span.latent_frames, settings.height, settings.width)
        return sampling_work(shape, len(settings.timesteps), commit, len(snapshot.states) > 1)

    def _sample(
        self, snapshot: Snapshot, span: BlockSpan, noise: NoiseSource
    ) -> Steps[LatentBlock]:
        timer = StageTimer(self._model.device)
        with timer.stage("text"):
            texts = self._encode_prompts(snapshot)
        with timer.stage("commit"):
            states = yield from commit_pending(snapshot, texts)
        with timer.stage("denoise"):
            latents, attempts = yield from self._denoise(snapshot, span, texts, states, noise)
        recent = (*snapshot.recent_latents, latents)[-self._kept_blocks :]
        after = replace(
            snapshot,
            next_index=snapshot.next_index + 1,
            states=states,
            recent_latents=recent,
            fixed_latents=None,
            blend=None if snapshot.blend is None else snapshot.blend.advanced(),
        )
        return LatentBlock(span, snapshot, after, timer, attempts, self._side_stream.record_event())

    def _encode_prompts(self, snapshot: Snapshot) -> tuple[TextKV, ...]:
        """As the function `encode_prompts`; those of unchanged prompts are reused.

        In a blend they change with each block, and the embeddings of the last block are reused.
        """
        if snapshot.mixes == self._texts_of:
            return self._texts
        before, self._embedded = self._embedded, {}

        def embed(prompt: str, negative: bool) -> Embedded:
            key = prompt, negative
            found = before[key] if key in before else self._executor.embed(prompt, negative)
            return self._embedded.setdefault(key, found)

        self._texts = encode_prompts(self._model, snapshot, embed)
        self._texts_of = snapshot.mixes
        return self._texts

    def _denoise(
        self,
        snapshot: Snapshot,
        span: BlockSpan,
        texts: tuple[TextKV, ...],
        states: tuple[StreamState, ...],
        noise: NoiseSource,
    ) -> Steps[tuple[Tensor, int]]:
        """The block's latents and the number of attempts."""
        start, frames = span.latent_start, span.latent_frames
        pasts = [state.past() for state in states]

        def sample(attempt: int) -> Steps[Tensor]:
            drawn = _noise_of(noise, span.index, attempt)
            return denoise_block(self._model, snapshot, start, frames, texts, pasts, drawn)

        latents, attempts = yield from sample_until_finite(sample, states, span)
        return latents.contiguous(), attempts  # a saved stream has the same memory layout

    def _decode(
        self, latent_block: LatentBlock, before: Snapshot, deliver: DeliverPart | None
    ) -> tuple[DecodedBlock, int, bool]:
        """The decoded block, its latent frames at a time, and whether it is decoded in tiles.

        Once memory has run out it is decoded in tiles, or by fewer frames. With no memory for a
        single one, the memory of the block that is being sampled is waited for.
        """
        latents, span = latent_block.latents, latent_block.span
        side_stream, alone = self._side_stream, False
        while True:
            step, tiles = self._pieces(before), self._in_tiles(before)
            decoder = self._model.decoder_for(tiles)
            try:
                with latent_block.timer.stage("decode"):
                    cache = self._cache.take(before, decoder, step)
                    decoded = decode_block(
                        *(decoder, latents, cache, span, step, side_stream, deliver)
                    )
                    return decoded, step, tiles
            except torch.OutOfMemoryError as error:
                if step == 1 and alone:
                    raise out_of_memory(span) from error
            # after the error, which keeps the tensors of the attempt
            if self._model.can_tile and not tiles:
                self._must_tile = True
            elif step == 1:
                alone = True
                if self._executor.is_concurrent:
                    with self._sampling:
                        pass
            else:
                self._most_decode_frames = min(step, latents.shape[2]) // 2

    def _in_tiles(self, before: Snapshot) -> bool:
        """Whether frames are decoded in tiles: as before in the stream, or for lack of memory."""
        chosen = self._decode_tiles if before.decode_tiles is None else before.decode_tiles
        return chosen or self._must_tile

    def _pieces(self, before: Snapshot) -> int:
        """How many latent frames are decoded at once: as before in the stream, unless limited.

        Frames decoded in other pieces differ by rounding.
        """
        chosen = before.decode_frames or self._decode_frames
        most = self._most_decode_frames
        return chosen if most is None else min(chosen, most)

    def _stats(
        self, latent_block: LatentBlock, after: Snapshot, stats: FrameStats, drift: float
    ) -> BlockStats:
        timer = latent_block.timer
        memory = timer.memory_bytes()
        self._peak_bytes = max(self._peak_bytes, timer.peak_bytes)
        return BlockStats(
            text_seconds=timer.seconds("text"),
            commit_seconds=timer.seconds("commit"),
            denoise_seconds=timer.seconds("denoise"),
            decode_seconds=timer.seconds("decode"),
            memory_bytes=memory,
            peak_memory_bytes=self._peak_bytes,
            state_bytes=after.nbytes + self._cache.nbytes,
            attempts=latent_block.attempts,
            look=stats,
            drift=drift,
        )


def _noise_of(source: NoiseSource, index: int, attempt: int) -> BlockNoise:
    """The noise of one attempt at a block."""

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        return source(index, step + attempt * ATTEMPT_STEPS, shape)

    return noise
