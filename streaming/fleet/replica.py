"""The blocks of any stream of a fleet, from the newest snapshot at or before them."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sana_stream.engine.session.drift import DriftGuard
from sana_stream.engine.snapshot.file import load_snapshot, serialize_snapshot
from sana_stream.errors import ConfigError, SanaStreamError, SnapshotError, StoreError

from .order import StreamOrder
from .reply import BlockReply
from .store import StreamStore

if TYPE_CHECKING:
    from sana_stream.engine.block import BlockPart
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.session import Session
    from sana_stream.engine.snapshot.snapshot import Snapshot

logger = logging.getLogger(__name__)
EVERY = 8  # blocks between two snapshots
CACHED = 4  # streams in the memory of a replica


@dataclass
class CachedStream:
    """A stream in memory: its session, its guard, and its last block for a repeated call."""

    session: Session
    guard: DriftGuard
    digest: str  # of the order up to the session's next block
    last: BlockReply | None = None
    last_digest: str = ""  # of the order up to and with the last block
    checked: tuple[str, str] | None = None  # the prompts that were checked for their length
    parts: list[int] = field(default_factory=list)


class StreamBlocks:
    """Makes block `number` of any stream; a pure function of the order and the number.

    Streams in memory are a cache: the least recently used one is dropped for another. A stream that
    is not there is loaded from its newest snapshot in the store, and from its beginning where there
    is none; the blocks in between are made again. Calls run one after the other.

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
        every: int = EVERY,
        cached: int = CACHED,
    ) -> None:
        self._engine, self._store, self._name = engine, store, name
        self._place = f"{socket.gethostname()}:{os.getpid()}"
        self._every, self._most = every, cached
        self._streams: OrderedDict[str, CachedStream] = OrderedDict()
        self._lock = Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sana-stream-snapshot")
        self._writing: dict[str, Future[None]] = {}
        self._faults: dict[str, str] = {}  # of the store, by stream, until they are reported
        self.on_snapshot: Callable[[float, str | None], None] = lambda seconds, fault: None

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams in memory, the least recently used first."""
        return tuple(self._streams)

    def block(self, stream: str, number: int, order: StreamOrder) -> BlockReply:
        """Make block `number` of a stream, or return it again if it was the last one.

        Args:
            stream: its folder in the store.
            number: of the block, from 0.
            order: of the stream; what it changes after this block has no effect.

        Raises:
            StoreError: a snapshot or a picture cannot be read.
            HealthError, ConfigError, SnapshotError: as of a session.
        """
        begun = time.perf_counter()
        with self._lock:
            waited = time.perf_counter() - begun
            cached = self._streams.get(stream)
            if cached is not None and self._is_last(cached, number, order):
                self._streams.move_to_end(stream)
                assert cached.last is not None
                return replace(cached.last, made=0, loaded=None, waited=waited)
            loaded = None
            if cached is None or not self._fits(cached, number, order):
                self._streams.pop(stream, None)
                cached = self._load(stream, number, order)
                loaded = cached.session.next_index
            self._keep(stream, cached)
            try:
                reply, made = None, 0
                while reply is None or reply.index < number:
                    reply, made = self._make(stream, cached, order), made + 1
            except BaseException:
                self._streams.pop(stream, None)
                raise
            return replace(reply, made=made, loaded=loaded, waited=waited)

    def checkpoint(
        self, stream: str, number: int, order: StreamOrder, extra: dict[str, object]
    ) -> bytes:
        """The checkpoint file of a stream before block `number`, with its prompts of that block.

        Raises:
            StoreError, SnapshotError, ConfigError: as `block`.
        """
        if number:
            self.block(stream, number - 1, order)
        with self._lock:
            cached = self._streams.get(stream)
            if cached is None or cached.session.next_index != number:
                cached = self._load(stream, number, order)
            snapshot = cached.guard.with_reference(cached.session.snapshot())
            prompt, negative, seed = order.before(number + 1)
            settings = replace(snapshot.settings, seed=seed)
            blend = order.change_at(number).blend
            changed = replace(snapshot.with_prompts(prompt, negative, blend), settings=settings)
            return serialize_snapshot(changed, self._engine, extra)

    def save_all(self) -> int:
        """Store a snapshot of every stream in memory, and wait for it; returns their number.

        Raises:
            StoreError: a snapshot cannot be written.
        """
        with self._lock:
            entries = [
                (stream, each.session.next_index, each.digest, self._snapshot(each))
                for stream, each in self._streams.items()
                if each.session.next_index
            ]
        for stream, number, digest, snapshot in entries:
            self._store.put(
                f"{stream}/{number:08d}-{digest}.ckpt", serialize_snapshot(snapshot, self._engine)
            )
        return len(entries)

    def close(self) -> None:
        """Wait for the snapshots that are being written."""
        self._writer.shutdown()

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

    def _keep(self, stream: str, cached: CachedStream) -> None:
        self._streams[stream] = cached
        self._streams.move_to_end(stream)
        while len(self._streams) > self._most:
            self._streams.popitem(last=False)

    def _load(self, stream: str, number: int, order: StreamOrder) -> CachedStream:
        """The stream from its newest snapshot at or before a block, or from its beginning."""
        if (writing := self._writing.get(stream)) is not None:
            writing.exception()  # wait; it may be the newest
        names = self._store.names(stream)
        for block in order.snapshots(names):
            if block <= number and (data := self._read(stream, order, block)) is not None:
                session = self._engine.session_from(data)
                return self._cached(session, order)
        session = self._engine.session(
            order.prompt, negative_prompt=order.negative_prompt, settings=order.settings
        )
        return self._cached(session, order)

    def _cached(self, session: Session, order: StreamOrder) -> CachedStream:
        guard = DriftGuard(session, self._engine, order.guard)
        return CachedStream(session, guard, order.digest(session.next_index))

    def _read(self, stream: str, order: StreamOrder, block: int) -> Snapshot | None:
        """A snapshot of the store; None for one that is gone or damaged, which is logged."""
        name = f"{stream}/{order.snapshot_name(block)}"
        if (data := self._store.get(name)) is None:
            return None
        try:
            with tempfile.TemporaryDirectory(prefix="sana-stream-") as folder:
                path = Path(folder, name.rpartition("/")[2])
                path.write_bytes(data)
                return load_snapshot(path, self._engine)
        except (SnapshotError, OSError) as error:
            logger.warning("%s; an older snapshot is used", error)
            return None

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
        if (fault := self._faults.pop(stream, None)) is not None:
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
            self._save(stream, cached, order)
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

    def _save(self, stream: str, cached: CachedStream, order: StreamOrder) -> None:
        """Store a snapshot in the background, unless the last one is still being written."""
        writing = self._writing.get(stream)
        if writing is not None and not writing.done():
            return
        number, snapshot = cached.session.next_index, self._snapshot(cached)
        self._writing[stream] = self._writer.submit(self._write, stream, number, order, snapshot)

    def _write(self, stream: str, number: int, order: StreamOrder, snapshot: Snapshot) -> None:
        begun, fault = time.perf_counter(), None
        try:
            data = serialize_snapshot(snapshot, self._engine)
            self._store.put(f"{stream}/{order.snapshot_name(number)}", data)
            self._prune(stream, number, order)
        except (SanaStreamError, StoreError) as error:
            fault = f"no snapshot before block {number}: {error}"
            self._faults[stream] = fault
        self.on_snapshot(time.perf_counter() - begun, fault)

    def _prune(self, stream: str, number: int, order: StreamOrder) -> None:
        """Remove old snapshots but the last two, and those that a rewind may need."""
        names = self._store.names(stream)
        blocks = [block for block in order.snapshots(names) if block <= number]
        oldest = min(order.oldest(number), *blocks[:2])
        needed = next((block for block in blocks if block <= oldest), 0)
        kept = {order.snapshot_name(block) for block in blocks if block >= needed}
        old = [n for n in names if n.endswith(".ckpt") and n not in kept and n < f"{number:08d}"]
        self._store.delete(f"{stream}/{name}" for name in old)


def _counting(parts: list[int]) -> Callable[[BlockPart], None]:
    return lambda part: parts.append(len(part.frames))
