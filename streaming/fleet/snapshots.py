"""The snapshots of a fleet's streams in its store: written in the background, and read back."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sana_stream.engine.snapshot.file import load_snapshot, serialize_snapshot
from sana_stream.errors import SnapshotError

from .order import SUFFIX, StreamOrder, snapshot_name
from .store import StreamStore

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.snapshot.snapshot import Snapshot

logger = logging.getLogger(__name__)


class StreamSnapshots:
    """Reads and writes snapshots of one model; methods may be called from any thread.

    Attributes:
        on_written: called with the seconds of each snapshot written in the background, and why it
            was not stored, or None.

    Args:
        engine: of the model.
        store: of the fleet.
    """

    def __init__(self, engine: Engine, store: StreamStore) -> None:
        self.on_written: Callable[[float, str | None], None] = lambda seconds, fault: None
        self._engine, self._store = engine, store
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sana-stream-snapshot")
        self._lock = Lock()
        self._writing: dict[str, Future[None]] = {}  # by stream
        self._faults: dict[str, str] = {}  # by stream, until they are taken

    def newest(self, stream: str, order: StreamOrder, number: int) -> Snapshot | None:
        """The newest snapshot of an order at or before a block; None where there is none.

        Damaged ones are logged and left out.

        Raises:
            StoreError: the store cannot be read.
        """
        self.wait(stream)  # what is being written may be the newest
        names = self._store.names(stream)
        for block in order.snapshots(names):
            if block <= number and (found := self._read(stream, order, block)) is not None:
                return found
        return None

    def write_soon(self, stream: str, number: int, order: StreamOrder, snapshot: Snapshot) -> None:
        """Store the snapshot before a block in the background, and remove those not needed.

        Nothing is stored while the last one of the stream is still being written.
        """
        with self._lock:
            if stream not in self._writing:
                writing = self._writer.submit(self._write, stream, number, order, snapshot)
                self._writing[stream] = writing

    def write(self, stream: str, number: int, digest: str, snapshot: Snapshot) -> None:
        """Store the snapshot before a block of the order with this digest.

        Raises:
            StoreError: it cannot be written.
        """
        data = serialize_snapshot(snapshot, self._engine)
        self._store.put(f"{stream}/{snapshot_name(number, digest)}", data)

    def wait(self, stream: str) -> None:
        """Wait for a snapshot that is being written."""
        with self._lock:
            writing = self._writing.get(stream)
        if writing is not None:
            writing.exception()

    def take_fault(self, stream: str) -> str | None:
        """Why the last snapshot of a stream was not stored; once."""
        with self._lock:
            return self._faults.pop(stream, None)

    def close(self) -> None:
        """Wait for all that is being written."""
        self._writer.shutdown()

    def _write(self, stream: str, number: int, order: StreamOrder, snapshot: Snapshot) -> None:
        begun, fault = time.perf_counter(), None
        try:
            self.write(stream, number, order.digest(number), snapshot)
            self._prune(stream, number, order)
        except Exception as error:  # of any kind: the stream continues without it
            fault = f"no snapshot before block {number + 1}: {error}"
        finally:
            with self._lock:
                del self._writing[stream]
                if fault is not None:
                    self._faults[stream] = fault
        self.on_written(time.perf_counter() - begun, fault)

    def _prune(self, stream: str, number: int, order: StreamOrder) -> None:
        """Remove old snapshots but the last two, and those that a rewind may need."""
        names = self._store.names(stream)
        blocks = [block for block in order.snapshots(names) if block <= number]
        oldest = min(order.oldest(number), *blocks[:2])
        needed = next((block for block in blocks if block <= oldest), 0)
        kept = {order.snapshot_name(block) for block in blocks if block >= needed}
        old = [n for n in names if n.endswith(SUFFIX) and n not in kept and n < f"{number:08d}"]
        self._store.delete(f"{stream}/{name}" for name in old)

    def _read(self, stream: str, order: StreamOrder, block: int) -> Snapshot | None:
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
