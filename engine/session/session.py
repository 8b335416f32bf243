"""One stream being generated: blocks out for ever, the prompt changed while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, Self

import torch

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream._text import safe_text
from sana_stream.engine.block import Block, BlockPlan, BlockSpan
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.media.inputs import Picture
from sana_stream.engine.noise import NoiseSource, check_noise, check_seed, counter_noise
from sana_stream.engine.snapshot.file import save_snapshot
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.errors import ConfigError

from .block_generator import BlockGenerator, LatentBlock
from .conditioning import cut_to_image
from .history import DiskSnapshotStore, History, MemorySnapshotStore, check_history

HISTORY_BYTES = 1 << 30
NOTES_BYTES = 8 << 20
LONGEST = 1e9  # seconds


class Session:
    """An endless iterator of blocks; holds one state and one block of latents, never more.

    Its methods may be called from any thread: one that changes the stream while another thread
    makes a block waits until that block is made. A call that is refused changes nothing.
    """

    def __init__(
        self, model: LoadedModel, snapshot: Snapshot, noise: NoiseSource | None = None
    ) -> None:
        self._model = model
        self._now = snapshot
        self._noise = check_noise(noise)  # the caller's own; else the seed decides
        self._lock = RLock()  # held while the stream moves on
        self._maker = BlockGenerator(model, snapshot.settings)
        self._history: History | None = None

    @property
    def device(self) -> torch.device:
        """Where the stream is made."""
        return self._model.device

    @property
    def plan(self) -> BlockPlan:
        """Where blocks lie, from the stream's last cut on."""
        return self._now.plan(self._model.vae.config.temporal_factor)

    @property
    def prompt(self) -> str:
        """The prompt that the next block will have."""
        return self._now.prompt

    @property
    def next_index(self) -> int:
        """Number of the next block."""
        return self._now.next_index

    @property
    def next_start(self) -> int:
        """First pixel frame of the next block."""
        return self._next.start

    @property
    def next_frames(self) -> int:
        """Pixel frames of the next block."""
        return self._next.frames

    @property
    def last_frames(self) -> int:
        """Pixel frames of the block before the next one; 0 where nothing goes before it."""
        index, first = self._now.next_index, self._now.shot.index
        return self.plan.block(index - 1).frames if index > first else 0

    def switch(self, prompt: str, negative_prompt: str | None = None) -> None:
        """Change the prompt (and the negative prompt, where given) from the next block on.

        The block before the switch is committed under the new prompt, on the state from before
        it, when the next block is asked for: a switch costs no extra call (LongLive's KV recache,
        without recomputing anything).

        Raises:
            ConfigError: not text, or an empty prompt; nothing has changed.
        """
        prompt = ARGUMENTS.text("prompt", prompt)
        if negative_prompt is not None:
            ARGUMENTS.text("negative_prompt", negative_prompt, empty=True)
        with self._lock:
            now = self._now
            negative = now.negative_prompt if negative_prompt is None else negative_prompt
            if (prompt, negative) != (now.prompt, now.negative_prompt):
                self._now = replace(now, prompt=prompt, negative_prompt=negative)

    def cut(self, image: Picture, prompt: str | None = None) -> None:
        """Cut to a picture with the next block: it is the first frame, and the only past.

        What follows is what a stream that begins with this picture shows, given the same noise.
        A published model that is not distilled takes Euler steps from there on, unless the session
        was given a solver.

        Args:
            image: the path of a file, an image of Pillow, or pixels uint8 (H, W, 3), of any size;
                it is made to cover the stream's.
            prompt: from the next block on; as before where it is not given.

        Raises:
            ConfigError: not a picture; nothing has changed.
        """
        if prompt is not None:
            ARGUMENTS.text("prompt", prompt)
        with self._lock:
            now = self._now if prompt is None else replace(self._now, prompt=prompt)
            self._now = self.apply_cut(now, image)

    def apply_cut(self, snapshot: Snapshot, image: Picture) -> Snapshot:
        """`head` with a picture in place of its past."""
        return cut_to_image(self._model, snapshot, image)

    def reseed(self, seed: int) -> None:
        """Draw the noise from another seed, from the next block on.

        Raises:
            ConfigError: a seed outside 0 to 2**63 - 1; nothing has changed.
        """
        seed = check_seed(seed)
        with self._lock:
            self._noise = None
            self._now = replace(self._now, settings=replace(self._now.settings, seed=seed))

    def snapshot(self) -> Snapshot:
        """Where the stream is now; `Engine.session_from` goes on from there."""
        return self._now

    def save(self, path: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write where the stream is now to a file, from which `Engine.resume` goes on.

        Args:
            path: replaced as a whole if it is there.
            extra: the caller's own notes, anything that JSON can hold.

        Raises:
            ConfigError: no path, or notes that JSON cannot hold.
            SnapshotError: the file cannot be written; one that was there is as before.
        """
        path = ARGUMENTS.path("path", path)
        save_snapshot(path, self._now, self._model, check_notes(extra))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Block:
        """Commit the block before, generate the next one and decode it."""
        with self._lock:
            block, snapshot = self.decode(self.sample(self._now), self._now)
            self.advance_to(snapshot)
        return block

    def sample(self, snapshot: Snapshot) -> LatentBlock:
        """The latents of the block after `head`; the session itself stays where it is.

        Raises:
            HealthError: as `BlockGenerator.draft`.
        """
        return self._maker.sample(snapshot, self._noise or counter_noise(snapshot.settings.seed))

    def decode(self, latent_block: LatentBlock, before: Snapshot) -> tuple[Block, Snapshot]:
        """The block of a draft, and where it leads; the session itself stays where it is.

        Args:
            before: the finished snapshot that the draft follows.

        Raises:
            HealthError: as `BlockGenerator.finish`.
        """
        return self._maker.decode(latent_block, before)

    def advance_to(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot: of the block just delivered, or of an earlier moment."""
        with self._lock:
            if self._history is not None and snapshot.next_index > self._now.next_index:
                self._history.keep(self.next_start, self._now)
            self._now = snapshot

    def keep_history(
        self, seconds: float, max_bytes: int = HISTORY_BYTES, folder: str | Path | None = None
    ) -> None:
        """Make it possible to go back so many seconds, from the blocks made from now on.

        Args:
            seconds: at the preset's rate; one block more may be kept.
            max_bytes: what may be held; where it is too little, less than `seconds` is kept.
            folder: keep checkpoint files there, in place of the machine's memory.

        Raises:
            ConfigError: nothing would be kept, or the folder cannot be used.
        """
        model = self._model
        seconds = ARGUMENTS.number("seconds", seconds, most=LONGEST)
        max_bytes = ARGUMENTS.whole("max_bytes", max_bytes)
        frames = round(seconds * model.preset.fps)
        check_history(frames, max_bytes)
        shelf = MemorySnapshotStore(model.device)
        if folder is not None:
            shelf = _disk_store(ARGUMENTS.path("folder", folder), model)
        with self._lock:
            self._history = History(shelf, frames, max_bytes)

    def rewind(self, seconds: float, fps: float | None = None) -> int:
        """Go back, to the beginning of the block that was shown so many seconds ago.

        The prompt is the one of that block; `switch` gives the stream another turn.

        Args:
            seconds: more than the stream has lasted is its beginning.
            fps: at which it is shown, where that is not the preset's rate.

        Returns:
            The first pixel frame of the next block.

        Raises:
            ConfigError: further back than the history reaches; nothing has changed.
        """
        seconds = ARGUMENTS.number("seconds", seconds, 0, LONGEST)
        if fps is not None:
            ARGUMENTS.number("fps", fps, above=0, most=LONGEST)
        with self._lock:
            return self._rewind(seconds, float(fps or self._model.preset.fps))

    def _rewind(self, seconds: float, fps: float) -> int:
        target = max(0, self.next_start - round(seconds * fps))
        if target == self.next_start:
            return target
        oldest = None if self._history is None else self._history.oldest
        if self._history is None or oldest is None or oldest > target:
            kept = 0 if oldest is None else (self.next_start - oldest) / fps
            raise ConfigError(
                f"cannot go back {seconds:g} s: the history holds {kept:.1f} s; keep a longer one"
            )
        self._now = self._history.before(target)
        self._history.forget_from(self.next_start)
        return self.next_start

    @property
    def _next(self) -> BlockSpan:
        return self.plan.block(self._now.next_index)


def check_notes(extra: object) -> Mapping[str, Any] | None:
    """A caller's notes as a checkpoint can hold them.

    Raises:
        ConfigError: no mapping of texts to what JSON holds, or far too much of it.
    """
    if extra is None:
        return None
    told = "give a dict with texts as keys and what JSON can hold as values"
    if not isinstance(extra, Mapping) or not all(isinstance(key, str) for key in extra):
        raise ConfigError(f"extra {shown(extra)}: {told}")
    try:
        size = len(json.dumps(dict(extra), allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"extra cannot be written as JSON: {told}") from error
    if size > NOTES_BYTES:
        raise ConfigError(f"extra takes {size} bytes as JSON: at most {NOTES_BYTES} are kept")
    return extra


def _disk_store(folder: Path, model: LoadedModel) -> DiskSnapshotStore:
    try:
        return DiskSnapshotStore(folder, model)
    except OSError as error:
        reason = (error.strerror or "it cannot be used").lower()
        raise ConfigError(f"folder {safe_text(folder)}: {reason}") from error
