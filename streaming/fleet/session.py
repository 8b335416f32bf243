"""A stream whose blocks are made by the replicas of a fleet; the gateway's side."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from PIL import Image

from sana_stream._arguments import ARGUMENTS
from sana_stream._files import atomic_write
from sana_stream._prompts import MOST_BLOCKS
from sana_stream._text import os_reason, safe_text
from sana_stream.engine.block import Block, BlockPart
from sana_stream.engine.media.inputs import Picture, as_picture
from sana_stream.engine.noise import check_seed
from sana_stream.engine.session.settings import check_prompt
from sana_stream.errors import ConfigError, SnapshotError, StoreError

from .order import StreamChange, StreamOrder, StreamPosition
from .order_json import order_to_json
from .reply import BlockReply
from .store import StreamStore

if TYPE_CHECKING:
    from sana_stream.engine.session.parts import TakePart

logger = logging.getLogger(__name__)
ORDER = "order.json"


class BlockSource(Protocol):
    """Asks replicas for blocks, again where one is lost or late."""

    def block(
        self, stream: str, number: int, order: StreamOrder, deadline: float | None = None
    ) -> BlockReply:
        """Block `number` of a stream, which is due at a time of `time.monotonic`."""
        ...

    def checkpoint(
        self, stream: str, number: int, order: StreamOrder, extra: dict[str, object]
    ) -> bytes:
        """The checkpoint file of a stream before block `number`."""
        ...

    def until_stored(self, stream: str, put: Callable[[], None]) -> None:
        """Repeat what writes to the store for a stream until it succeeds."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteSnapshot:
    """A place in a remote stream; its tensors are on the replicas and in the store."""

    next_index: int
    is_blending: bool  # as of `Snapshot`


class RemoteSession:
    """The part of `Session` that a directed run uses, with the blocks made elsewhere.

    What changes with a block is stored in the stream's order before the block is asked for. How
    much was delivered is stored with it, at the latest one block later. A call that raises changes
    nothing.

    Args:
        source: asks replicas.
        store: of the fleet.
        stream: the stream's folder in it.
        order: where the stream begins or continues, at its position.
        fps: frame rate of the model.
        causal: whether the model streams; otherwise the stream ends after its first block.
        saved: returns how many of the video's frames are safe; None: all that were delivered.

    Raises:
        HealthError: the stream was stopped before its order could be stored.
    """

    def __init__(
        self,
        source: BlockSource,
        store: StreamStore,
        stream: str,
        order: StreamOrder,
        fps: float,
        causal: bool = True,
        saved: Callable[[], int] | None = None,
    ) -> None:
        self._source, self._store, self._stream = source, store, stream
        self._order, self._fps, self._causal = order, fps, causal
        self._saved = saved
        self._next = order.position.block
        self._frames = order.position.frames
        self._prompt = order.before(self._next)[0]
        self._unsafe: deque[StreamPosition] = deque()
        self._take: TakePart | None = None
        self._deadline: float | None = None
        self._lock = RLock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sana-stream-order")
        self._writing: Future[None] | None = None
        self._changed = False  # since the order was stored
        self.drift = 1.0
        self.last: BlockReply | None = None
        source.until_stored(stream, self._store_order)

    @property
    def order(self) -> StreamOrder:
        """The order as it is now."""
        return self._order

    @property
    def prompt(self) -> str:
        """The prompt of the next block, of the last one where the stream was just resumed."""
        return self._prompt

    @property
    def next_index(self) -> int:
        """Number of the next block."""
        return self._next

    @property
    def next_start(self) -> int:
        """First pixel frame of the next block."""
        return self._order.start(self._next)

    @property
    def last_frames(self) -> int:
        """Pixel frames of the last block; 0 before the first block and after a cut."""
        plan = self._order.plan(self._next)
        is_first = self._next == plan.shots[-1].index
        return 0 if is_first else plan.block(self._next - 1).frames

    @property
    def is_complete(self) -> bool:
        """Whether there is no next block."""
        return not self._causal and self._next > 0

    def switch(
        self, prompt: str, negative_prompt: str | None = None, *, transition_blocks: int = 0
    ) -> None:
        """As `Session.switch`."""
        prompt = check_prompt(prompt)
        blocks = ARGUMENTS.whole("transition_blocks", transition_blocks, 0, MOST_BLOCKS)
        if negative_prompt is not None:
            ARGUMENTS.text("negative_prompt", negative_prompt, empty=True)
        with self._lock:
            before, negative, _ = self._order.before(self._next)
            change = self._order.change_at(self._next)
            change = replace(change, prompt=None if prompt == before else prompt)
            if negative_prompt is not None:
                new = None if negative_prompt == negative else negative_prompt
                change = replace(change, negative_prompt=new)
            changed = change.prompt is not None or change.negative_prompt is not None
            self._change(replace(change, blend=blocks if changed else 0))
            self._prompt = prompt

    def cut(self, image: Picture, prompt: str | None = None) -> None:
        """As `Session.cut`; the picture is stored for the replicas.

        Raises:
            ConfigError: not an image.
            StoreError: the picture cannot be stored.
        """
        data = BytesIO()
        Image.fromarray(np.ascontiguousarray(as_picture(image))).save(data, "png", compress_level=1)
        name = f"image-{hashlib.blake2b(data.getvalue(), digest_size=8).hexdigest()}.png"
        with self._lock:
            self._store.put(f"{self._stream}/{name}", data.getvalue())
            if prompt is not None:
                self.switch(prompt)
            self._change(replace(self._order.change_at(self._next), image=name))

    def reseed(self, seed: int) -> None:
        """As `Session.reseed`."""
        seed = check_seed(seed)
        with self._lock:
            before = self._order.before(self._next)[2]
            new = None if seed == before else seed
            self._change(replace(self._order.change_at(self._next), seed=new))

    def set_gateway_values(self, values: Mapping[str, Any]) -> None:
        """Store the gateway's own values before the next block is asked for."""
        with self._lock:
            self._order, self._changed = replace(self._order, gateway=dict(values)), True

    def keep_history(self, seconds: float) -> None:
        """Let the stream be rewound by `seconds`; snapshots that this needs are kept."""
        frames = round(ARGUMENTS.number("seconds", seconds, most=1e9) * self._fps)
        with self._lock:
            self._order = replace(self._order, history_frames=frames)

    def rewind(self, seconds: float, fps: float | None = None) -> int:
        """As `Session.rewind`; the blocks after the newest snapshot before are made again.

        Raises:
            ConfigError: further than the history reaches; nothing has changed.
        """
        seconds = ARGUMENTS.number("seconds", seconds, 0, 1e9)
        rate = float(fps or self._fps)
        with self._lock:
            target = max(0, self.next_start - round(seconds * rate))
            if target == self.next_start:
                return target
            order, oldest = self._order, self._order.oldest(self._next)
            if order.start(oldest) > target:
                kept = (self.next_start - order.start(oldest)) / rate
                raise ConfigError(
                    f"cannot rewind {seconds:g} s: the history holds {kept:.1f} s; keep a longer"
                    " one"
                )
            block = next(b for b in range(self._next, -1, -1) if order.start(b) <= target)
            self._order, self._next = order.rewound_to(block), block
            self._prompt = self._order.before(block + 1)[0]
            self._unsafe.clear()
            position = StreamPosition(block, self._frames)
            self._order = replace(self._order, position=position)
            self._changed = True
            return self.next_start

    def snapshot(self) -> RemoteSnapshot:
        """The place before the next block."""
        return RemoteSnapshot(self._next, self._order.blends(self._next))

    def save(self, path: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        """As `Session.save`, from a replica.

        Raises:
            SnapshotError: the file cannot be written.
        """
        path = ARGUMENTS.path("path", path)
        data = self._source.checkpoint(self._stream, self._next, self._order, dict(extra or {}))
        try:
            atomic_write(path, data)
        except OSError as error:
            raise SnapshotError(
                f"checkpoint {safe_text(path)} cannot be written: {os_reason(error)}"
            ) from error

    def deliver_parts(self, take: TakePart | None) -> None:
        """As `Session.deliver_parts`; a block's parts come together, once it is there."""
        self._take = take

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Block:
        """Store the order if it has changed, then ask for the next block.

        Raises:
            StopIteration: the model makes one clip, and it is made.
            HealthError: values that are not finite, or the stream was stopped before a replica
                answered.
        """
        with self._lock:
            if self.is_complete:
                raise StopIteration
            self._store_progress()
            reply = self._source.block(self._stream, self._next, self._order, self._deadline)
            for note in reply.notes:
                logger.warning("%s: %s", self._stream, note)
            self.last, self.drift = reply, reply.drift
            self._deliver_parts(reply)
            self._next += 1
            self._frames += len(reply.frames)
            self._unsafe.append(StreamPosition(self._next, self._frames))
        return reply.block()

    @property
    def place(self) -> int:
        """0: replicas have no queue of streams."""
        return 0

    def idle(self) -> AbstractContextManager[None]:
        """As `Session.idle`: between two blocks a replica does nothing for a stream."""
        return nullcontext()

    def set_deadline(self, deadline: float | None) -> None:
        """As `Session.set_deadline`; the replica serves the streams that it has by it."""
        self._deadline = deadline

    def close(self, keep: bool) -> None:
        """Wait for what is being stored; store how far the stream has come if it is to be kept.

        Where the store cannot be reached, it is continued from what was stored before.
        """
        self._writer.shutdown()
        if keep:
            with self._lock:
                self._advance()
                self._write(order_to_json(self._order))

    def _change(self, change: StreamChange) -> None:
        order = self._order.with_change(change)
        if order != self._order:
            self._order, self._changed = order, True

    def _advance(self) -> None:
        """Move the position to the newest one whose frames are safe."""
        safe = self._frames if self._saved is None else self._saved()
        while self._unsafe and self._unsafe[0].frames <= safe:
            self._order = replace(self._order, position=self._unsafe.popleft())

    def _store_progress(self) -> None:
        """Store the order: at once if it has changed, else while the block is made."""
        self._advance()
        if self._changed:  # blocks depend on it: no block before it is stored
            self._source.until_stored(self._stream, self._store_order)
        elif self._writing is None or self._writing.done():
            self._writing = self._writer.submit(self._write, order_to_json(self._order))

    def _store_order(self) -> None:
        if self._writing is not None:
            self._writing.exception()  # an older order must not come after this one
        self._store.put(f"{self._stream}/{ORDER}", order_to_json(self._order))
        self._changed = False

    def _write(self, data: bytes) -> None:
        try:
            self._store.put(f"{self._stream}/{ORDER}", data)
        except StoreError as error:
            logger.warning("%s: its position is not stored (%s)", self._stream, error)

    def _deliver_parts(self, reply: BlockReply) -> None:
        take, offset = self._take, 0
        if take is None:
            return
        for frames in reply.parts:
            part = reply.frames[offset : offset + frames]
            take(BlockPart(reply.index, reply.start + offset, offset, part, reply.prompt))
            offset += frames
