"""The last seconds of a stream, kept so that it can go back and take another turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.file import load_snapshot, save_snapshot
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.engine.snapshot.tensors import map_tensors
from sana_stream.errors import ConfigError


class SnapshotStore(Protocol):
    """Keeps snapshots, without their decoder's cache, under numbers that it gives out."""

    def put(self, snapshot: Snapshot) -> int:
        """Keep a snapshot; its number."""
        ...

    def get(self, key: int) -> Snapshot:
        """The snapshot of a number, ready to go on from."""
        ...

    def drop(self, key: int) -> None:
        """Keep it no longer."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept."""
        ...


class MemorySnapshotStore:
    """Snapshots in the machine's memory, never on the device; shared tensors are held once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._keys = count()
        self._kept: dict[int, Snapshot] = {}
        self._hosted: WeakIdKeyDictionary = WeakIdKeyDictionary()  # device tensor: host tensor

    def put(self, snapshot: Snapshot) -> int:
        key = next(self._keys)
        self._kept[key] = map_tensors(snapshot, self._host)
        return key

    def get(self, key: int) -> Snapshot:
        return map_tensors(self._kept[key], lambda tensor: tensor.to(self._device))

    def drop(self, key: int) -> None:
        del self._kept[key]

    @property
    def nbytes(self) -> int:
        sizes: dict[int, int] = {}

        def measure(tensor: Tensor) -> Tensor:
            sizes[id(tensor)] = tensor.nbytes
            return tensor

        for snapshot in self._kept.values():
            map_tensors(snapshot, measure)
        return sum(sizes.values())

    def _host(self, tensor: Tensor) -> Tensor:
        if tensor.device.type == "cpu":
            return tensor
        if tensor not in self._hosted:
            self._hosted[tensor] = tensor.cpu()
        return self._hosted[tensor]


class DiskSnapshotStore:
    """Snapshots as checkpoint files in a folder, each of which `Engine.resume` takes.

    Files that are there already keep their names.
    """

    def __init__(self, folder: Path, model: LoadedModel) -> None:
        self._folder = folder
        self._model = model
        self._keys = count()
        self._sizes: dict[int, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, snapshot: Snapshot) -> int:
        key = next(key for key in self._keys if not self._file(key).exists())
        save_snapshot(self._file(key), snapshot, self._model)
        self._sizes[key] = self._file(key).stat().st_size
        return key

    def get(self, key: int) -> Snapshot:
        return load_snapshot(self._file(key), self._model)

    def drop(self, key: int) -> None:
        del self._sizes[key]
        self._file(key).unlink(missing_ok=True)

    @property
    def nbytes(self) -> int:
        return sum(self._sizes.values())

    def _file(self, key: int) -> Path:
        return self._folder / f"{key:08d}.ckpt"


@dataclass(frozen=True, slots=True)
class _Entry:
    start: int  # first pixel frame of the block that follows
    key: int  # the snapshot's on the shelf


class History:
    """A snapshot before each of the last blocks, bounded in frames and in bytes.

    Args:
        shelf: where the snapshots are kept.
        frames: how far back it must be possible to go, in pixel frames.
        max_bytes: what the shelf may hold; the oldest snapshots go first.
    """

    def __init__(self, store: SnapshotStore, frames: int, max_bytes: int) -> None:
        check_history(frames, max_bytes)
        self._shelf = store
        self._frames = frames
        self._max_bytes = max_bytes
        self._entries: deque[_Entry] = deque()

    def keep(self, start: int, snapshot: Snapshot) -> None:
        """Keep the snapshot before the block that starts at this pixel frame."""
        self.forget_from(start)
        self._entries.append(_Entry(start, self._shelf.put(snapshot)))
        while len(self._entries) > 1 and self._has_too_much():
            self._shelf.drop(self._entries.popleft().key)

    def before(self, frame: int) -> Snapshot:
        """The snapshot before the last block that starts at or before this pixel frame.

        Raises:
            LookupError: nothing that old is kept.
        """
        entry = next((entry for entry in reversed(self._entries) if entry.start <= frame), None)
        if entry is None:
            raise LookupError(frame)
        return self._shelf.get(entry.key)

    def forget_from(self, start: int) -> None:
        """Drop what is kept of this pixel frame and later ones."""
        while self._entries and self._entries[-1].start >= start:
            self._shelf.drop(self._entries.pop().key)

    @property
    def oldest(self) -> int | None:
        """The first pixel frame that it is possible to go back to."""
        return self._entries[0].start if self._entries else None

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept; what snapshots share counts once."""
        return self._shelf.nbytes

    def clear(self) -> None:
        """Drop everything."""
        self.forget_from(0)

    def _has_too_much(self) -> bool:
        second, newest = self._entries[1].start, self._entries[-1].start
        return second <= newest - self._frames or self._shelf.nbytes > self._max_bytes


def check_history(frames: int, max_bytes: int) -> None:
    """Refuse a history that would hold nothing.

    Raises:
        ConfigError: no frame, or no byte.
    """
    if frames < 1 or max_bytes < 1:
        raise ConfigError(
            f"a history of {frames} frames and {max_bytes} bytes keeps nothing;"
            " give more than 0 of both"
        )
