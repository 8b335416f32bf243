"""A session: one endless stream of blocks, whose prompt can be changed while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, Self

from sana_stream._arguments import ARGUMENTS
from sana_stream._prompts import MOST_BLOCKS
from sana_stream.engine.block import Block, BlockPlan, BlockSpan
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.media.inputs import Picture
from sana_stream.engine.noise import NoiseSource, check_noise, check_seed, counter_noise
from sana_stream.engine.snapshot.extra import check_extra
from sana_stream.engine.snapshot.file import save_snapshot
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.errors import ConfigError
from sana_stream.models.hybrid.transformer import ONE_CLIP

from .block_generator import LatentBlock
from .device_session import DeviceSession
from .past import LONGEST, SessionPast, open_past
from .settings import check_prompt

HISTORY_BYTES = 1 << 30


class Session(DeviceSession):
    """An endless iterator of the blocks of one stream, in constant memory.

    With a model that makes one clip at a time it ends after the first block.

    Its methods may be called from any thread. A method that changes the stream waits while another
    thread generates a block. A call that raises changes nothing.

    Args:
        model: the loaded model.
        snapshot: where the stream starts or resumes.
        noise: as for `Engine.session`.
    """

    def __init__(
        self, model: LoadedModel, snapshot: Snapshot, noise: NoiseSource | None = None
    ) -> None:
        super().__init__(model, snapshot.settings)
        self._snapshot = snapshot
        self._noise = check_noise(noise)  # None: from the seed
        self._lock = RLock()  # held while a block is generated
        self._past = SessionPast()

    def __repr__(self) -> str:
        made = f"blocks={self.next_index}, frames={self.next_start}, device={str(self.device)!r}"
        settings = self._snapshot.settings
        size = f"{settings.width}x{settings.height}"
        return f"Session({self.prompt!r}, {size}, seed={settings.seed}, {made})"

    @property
    def plan(self) -> BlockPlan:
        """The block plan from the last cut on."""
        return self._snapshot.plan(self._model.vae.config.temporal_factor)

    @property
    def prompt(self) -> str:
        """The prompt of the next block; in a blend the one that it leads to."""
        return self._snapshot.prompt

    @property
    def next_index(self) -> int:
        """Number of the next block."""
        return self._snapshot.next_index

    @property
    def next_start(self) -> int:
        """First pixel frame of the next block."""
        return self._next.start

    @property
    def oldest_start(self) -> int:
        """First pixel frame of the oldest block that the history reaches back to."""
        with self._lock:
            return self._past.oldest(self.next_start)

    @property
    def next_frames(self) -> int:
        """Pixel frames of the next block."""
        return self._next.frames

    @property
    def last_frames(self) -> int:
        """Pixel frames of the last block; 0 before the first block and after a cut."""
        index, first = self._snapshot.next_index, self._snapshot.shot.index
        return self.plan.block(index - 1).frames if index > first else 0

    @property
    def is_complete(self) -> bool:
        """Whether there is no next block: the model makes one clip, and it is made.

        A cut starts another clip.
        """
        return self._is_complete(self._snapshot)

    def switch(
        self, prompt: str, negative_prompt: str | None = None, *, transition_blocks: int = 0
    ) -> None:
        """Change the prompt, and the negative prompt where given, from the next block on.

        The last block is committed under the new prompt when the next block is requested, so a
        switch needs no extra call of the network (the effect of LongLive's KV recache, without
        recomputation). In a blend it is committed under the mixture of the next block.

        Args:
            prompt: as for `Engine.session`. The session's own prompt changes nothing, and a blend
                to it continues.
            negative_prompt: may be empty; `None` keeps it.
            transition_blocks: 0 to 1000, blocks over which the old prompts are blended into the
                new ones. Their share grows evenly: with 3 blocks 1/4, 1/2, 3/4, and the block
                after these has the new prompts alone. Another switch meanwhile begins with the
                mixture that is reached; a cut ends the blend.

        Raises:
            ConfigError: not text, an empty prompt, weights that do not add up to 1, a wrong number
                of blocks, or the session is complete; nothing has changed.
        """
        prompt = check_prompt(prompt)
        if negative_prompt is not None:
            ARGUMENTS.text("negative_prompt", negative_prompt, empty=True)
        blocks = ARGUMENTS.whole("transition_blocks", transition_blocks, 0, MOST_BLOCKS)
        with self._lock:
            now = self._snapshot
            if self._is_complete(now):
                raise ConfigError(ONE_CLIP)
            self._snapshot = now.with_prompts(prompt, negative_prompt, blocks)

    def cut(self, image: Picture, prompt: str | None = None) -> None:
        """Cut to an image: it is the first frame of the next block and the only past.

        The frames are those of a stream that starts from this image, given the same noise. A
        published model that is not distilled uses Euler steps from there on, unless the session
        was given a solver.

        Args:
            image: the path of a file, a Pillow image, or pixels uint8 (H, W, 3), of any size;
                scaled and cropped to the stream's.
            prompt: from the next block on; `None` keeps it.

        Raises:
            ConfigError: not an image; nothing has changed.
        """
        if prompt is not None:
            check_prompt(prompt)
        with self._lock:
            now = self._snapshot if prompt is None else replace(self._snapshot, prompt=prompt)
            self._snapshot = self.apply_cut(now, image)

    def reseed(self, seed: int) -> None:
        """Generate the noise from another seed, from the next block on.

        Raises:
            ConfigError: a seed outside 0 to 2**63 - 1; nothing has changed.
        """
        seed = check_seed(seed)
        with self._lock:
            self._noise = None
            self._snapshot = replace(
                self._snapshot, settings=replace(self._snapshot.settings, seed=seed)
            )

    def snapshot(self) -> Snapshot:
        """The stream before its next block; `Engine.session_from` resumes from it."""
        return self._snapshot

    def save(
        self, path: str | Path, extra: Mapping[str, Any] | None = None, *, start: int | None = None
    ) -> None:
        """Write the stream to a checkpoint file, which `Engine.resume` reads.

        Args:
            path: an existing file is replaced atomically.
            extra: the caller's own values, anything that JSON can hold, at most 8 MiB.
            start: save the moment before the block that starts at this pixel frame, from
                `oldest_start` to `next_start`. None: the current one.

        Raises:
            ConfigError: not a path, values that JSON cannot hold, or a moment that is not kept.
            SnapshotError: the file cannot be written; an existing one is unchanged.
        """
        path, extra = ARGUMENTS.path("path", path), check_extra(extra)
        if start is None:
            save_snapshot(path, self._snapshot, self._model, extra)
            return
        with self._lock:
            save_snapshot(path, self._before(start), self._model, extra)

    def _before(self, start: int) -> Snapshot:
        """The snapshot before the block that starts at a pixel frame."""
        current = self.next_start
        return self._snapshot if start == current else self._past.before(start, current)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Block:
        """Commit the last block, generate the next one and decode it.

        Raises:
            StopIteration: the session is complete.
            HealthError: states, latents or frames are not finite, or no memory is left.
        """
        with self._lock:
            if self.is_complete:
                raise StopIteration
            block, snapshot = self.decode(self.sample(self._snapshot), self._snapshot)
            self.advance_to(snapshot)
        return block

    def sample(self, snapshot: Snapshot) -> LatentBlock:
        """Sample the latents of the block after a snapshot; the session does not advance.

        Raises:
            ConfigError: the session is complete.
            HealthError, CancelledError: as `BlockGenerator.sample`.
        """
        return self._generator.sample(
            snapshot, self._noise or counter_noise(snapshot.settings.seed)
        )

    def advance_to(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot, of the block just delivered or an earlier one."""
        with self._lock:
            if snapshot.next_index > self._snapshot.next_index:
                self._past.keep(self.next_start, self._snapshot)
            self._snapshot = snapshot

    def keep_history(
        self, seconds: float, max_bytes: int = HISTORY_BYTES, folder: str | Path | None = None
    ) -> None:
        """Keep a history for `rewind`, of the blocks generated from now on.

        Args:
            seconds: its length at the preset's frame rate; one block more may be kept.
            max_bytes: limit of its size; it may shorten the history.
            folder: store checkpoint files there instead of using host memory.

        Raises:
            ConfigError: the history would be empty, or the folder cannot be used.
        """
        past = open_past(self._model, seconds, max_bytes, folder)
        with self._lock:
            self._past = past

    def rewind(self, seconds: float, fps: float | None = None) -> int:
        """Rewind to the start of the block that was shown `seconds` seconds ago.

        The prompts are those of that block.

        Args:
            seconds: more than the stream's length means its start.
            fps: frame rate of playback, where it is not the preset's.

        Returns:
            The first pixel frame of the next block.

        Raises:
            ConfigError: further than the history reaches; nothing has changed.
        """
        seconds = ARGUMENTS.number("seconds", seconds, 0, LONGEST)
        if fps is not None:
            ARGUMENTS.number("fps", fps, above=0, most=LONGEST)
        with self._lock:
            fps = float(fps or self._model.preset.fps)
            if round(seconds * fps) and self.next_start:
                self._snapshot = self._past.rewind(seconds, fps, self.next_start)
                self._past.forget_from(self.next_start)
            return self.next_start

    def _is_complete(self, snapshot: Snapshot) -> bool:
        causal = self._model.transformer.config.causal
        return not causal and snapshot.uncommitted is not None

    @property
    def _next(self) -> BlockSpan:
        return self.plan.block(self._snapshot.next_index)
