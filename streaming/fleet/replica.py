"""The blocks of any stream of a fleet, from the newest snapshot at or before them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sana_stream.engine.session.drift import DriftGuard
from sana_stream.engine.snapshot.file import serialize_snapshot
from sana_stream.errors import ConfigError

from .config import FleetConfig
from .device import DeviceSession, ReplicaDevice
from .order import StreamOrder
from .reply import BlockReply
from .snapshots import StreamSnapshots
from .store import StreamStore
from .stream_cache import CachedStream, StreamCache, StreamSlot

if TYPE_CHECKING:
    from sana_stream.engine.block import BlockPart
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.session import Session
    from sana_stream.engine.snapshot.snapshot import Snapshot

logger = logging.getLogger(__name__)


class StreamBlocks:
    """Makes block `number` of any stream; a pure function of the order and the number.

    Streams in memory are a cache: the least recently used one is dropped for another. A stream that
    is not there is loaded from its newest snapshot in the store, and from its beginning where there
    is none; the blocks in between are made again. Calls of one stream follow each other; those of
    several share the device, and the one whose viewer runs out of video first comes first.

    Args:
        engine: the loaded model.
        store: of the fleet.
        name: of this replica, in replies.
        every: blocks between two snapshots.
        cached: streams in memory.
    """

    def __init__(
        self,
        engine: Engine,
        store: StreamStore,
        name: str = "",
        every: int = FleetConfig.every,
        cached: int = FleetConfig.cached,
    ) -> None:
        self._engine, self._store, self._name = engine, store, name
        self._place = f"{socket.gethostname()}:{os.getpid()}"
        self._every = every
        self._cache = StreamCache(cached)
        self._device = ReplicaDevice(engine)
        self.snapshots = StreamSnapshots(engine, store)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams in memory, the least recently used first."""
        return self._cache.names

    def block(
        self, stream: str, number: int, order: StreamOrder, due: float | None = None
    ) -> BlockReply:
        """Make block `number` of a stream, or return it again if it was the last one.

        Args:
            stream: its folder in the store.
            number: of the block, from 0.
            order: of the stream; what it changes after this block has no effect.
            due: seconds until the viewer has nothing left to play; None: with what others leave.

        Raises:
            StoreError: a snapshot or a picture cannot be read.
            HealthError, ConfigError, SnapshotError: as of a session.
        """
        with self._cache.hold(stream) as slot:
            return self._block(slot, stream, number, order, due)

    def checkpoint(
        self, stream: str, number: int, order: StreamOrder, extra: dict[str, object]
    ) -> bytes:
        """The checkpoint file of a stream before block `number`, with its prompts of that block.

        Raises:
            StoreError, SnapshotError, ConfigError: as `block`.
        """
        with self._cache.hold(stream) as slot:
            if number:
                self._block(slot, stream, number - 1, order)
            elif slot.content is None or slot.content.session.next_index:
                slot.set(self._load(stream, 0, order))
            assert slot.content is not None
            snapshot = self._snapshot(slot.content)
        prompt, negative, seed = order.before(number + 1)
        settings = replace(snapshot.settings, seed=seed)
        blend = order.change_at(number).blend
        changed = replace(snapshot.with_prompts(prompt, negative, blend), settings=settings)
        return serialize_snapshot(changed, self._engine, extra)

    def save_all(self) -> int:
        """Store a snapshot of every stream in memory, after the block that is being made.

        Returns:
            The number of streams.

        Raises:
            StoreError: a snapshot cannot be written.
        """
        count = 0
        for stream in self.streams:
            with self._cache.hold(stream) as slot:
                if (cached := slot.content) is None or not cached.session.next_index:
                    continue
                number, digest = cached.session.next_index, cached.digest
                snapshot = self._snapshot(cached)
            self.snapshots.write(stream, number, digest, snapshot)
            count += 1
        return count

    def close(self) -> None:
        """Wait for the snapshots that are being written, and end the thread of the networks."""
        self.snapshots.close()
        self._device.close()

    def _block(
        self,
        slot: StreamSlot,
        stream: str,
        number: int,
        order: StreamOrder,
        due: float | None = None,
    ) -> BlockReply:
        cached = slot.content
        if cached is not None and self._is_last(cached, number, order):
            assert cached.last is not None
            return replace(cached.last, made=0, loaded=None)
        loaded = None
        if cached is None or not self._fits(cached, number, order):
            slot.set(None)
            cached = self._load(stream, number, order)
            slot.set(cached)
            loaded = cached.session.next_index
        try:
            reply, made = None, 0
            with cached.device.making(due):
                while reply is None or reply.index < number:
                    reply, made = self._make(stream, cached, order), made + 1
        except BaseException:
            slot.set(None)
            raise
        return replace(reply, made=made, loaded=loaded)

    def _is_last(self, cached: CachedStream, number: int, order: StreamOrder) -> bool:
        last = cached.last
        return (
            last is not None
            and last.index == number
            and cached.last_digest == order.digest(number + 1)
        )

    def _fits(self, cached: CachedStream, number: int, order: StreamOrder) -> bool:
        """Whether a session in memory is that of the order, at or before a block."""
        next_index = cached.session.next_index
        return next_index <= number and cached.digest == order.digest(next_index)

    def _load(self, stream: str, number: int, order: StreamOrder) -> CachedStream:
        """The stream from its newest snapshot at or before a block, or from its beginning."""
        if (found := self.snapshots.newest(stream, order, number)) is not None:
            return self._cached(self._engine.session_from(found), order)
        session = self._engine.session(
            order.prompt, negative_prompt=order.negative_prompt, settings=order.settings
        )
        return self._cached(session, order)

    def _cached(self, session: Session, order: StreamOrder) -> CachedStream:
        guard = DriftGuard(session, self._engine, order.guard)
        device = DeviceSession(session, self._device)
        return CachedStream(session, guard, device, order.digest(session.next_index))

    def _make(self, stream: str, cached: CachedStream, order: StreamOrder) -> BlockReply:
        """The session's next block, under the order's changes for it."""
        session, guard = cached.session, cached.guard
        index = session.next_index
        notes = [*self._apply(stream, cached, order, index)]
        cached.parts = []
        session.deliver_parts(_counting(cached.parts))
        block = next(session)
        if (note := guard.check(block)) is not None:
            notes.append(note)
        if (fault := self.snapshots.take_fault(stream)) is not None:
            notes.append(fault)
        cached.digest = cached.last_digest = order.digest(session.next_index)
        cached.last = BlockReply(
            index=block.index,
            start=block.start,
            frames=block.frames,
            latents=block.latents.numpy(),
            prompt=block.prompt,
            stats=block.stats,
            parts=tuple(cached.parts),
            drift=guard.drift,
            notes=tuple(notes),
            replica=self._name,
            place=self._place,
        )
        if session.next_index % self._every == 0:
            snapshot = self._snapshot(cached)
            self.snapshots.write_soon(stream, session.next_index, order, snapshot)
        return cached.last

    def _apply(
        self, stream: str, cached: CachedStream, order: StreamOrder, index: int
    ) -> list[str]:
        """Apply what changes with a block; returns a line for each prompt that is too long."""
        session, change = cached.session, order.change_at(index)
        if change.seed is not None:
            session.reseed(change.seed)
        prompt, negative, _ = order.before(index + 1)
        session.switch(prompt, negative, transition_blocks=change.blend)
        if change.image is not None:
            session.cut(self._picture(f"{stream}/{change.image}"))
        if (prompt, negative) == cached.checked:
            return []
        cached.checked = prompt, negative
        encoder = self._engine.text_encoder
        lines = [encoder.unread(prompt)]
        if order.settings.guidance != 1 and negative:
            lines.append(encoder.unread(negative, with_instruction=False))
        return [line for line in lines if line]

    def _picture(self, name: str) -> np.ndarray:
        data = self._store.get(name)
        if data is None:
            raise ConfigError(f"{name} is not in the store {self._store.url}")
        with Image.open(BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))

    def _snapshot(self, cached: CachedStream) -> Snapshot:
        return cached.guard.with_reference(cached.session.snapshot())


def _counting(parts: list[int]) -> Callable[[BlockPart], None]:
    return lambda part: parts.append(len(part.frames))
