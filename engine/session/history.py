"""History of a stream: a snapshot before each of the last blocks, for rewinding."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from sana_stream._text import os_reason, safe_text
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.file import load_snapshot, save_snapshot
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.engine.snapshot.tensors import map_tensors
from sana_stream.errors import ConfigError


class SnapshotStore(Protocol):
    """Stores snapshots, without their decoder's cache, under numbers."""

    def put(self, snapshot: Snapshot) -> int:
        """Store a snapshot and return its number."""
        ...

    def get(self, key: int) -> Snapshot:
        """The snapshot of a number, on the model's device."""
        ...

    def drop(self, key: int) -> None:
        """Remove a snapshot."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of all stored snapshots."""
        ...


class MemorySnapshotStore:
    """Snapshots in host memory; tensors that several of them share are stored once."""

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
    """Snapshots as checkpoint files in a folder, which `Engine.resume` can read.

    Existing files are not overwritten.
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
    key: int  # the snapshot's number in the store


class History:
    """A snapshot before each of the last blocks, bounded in frames and in bytes.

    Args:
        store: where snapshots are kept.
        frames: how far it must be possible to rewind, in pixel frames.
        max_bytes: limit of the store; the oldest snapshots are removed first.
    """

    def __init__(self, store: SnapshotStore, frames: int, max_bytes: int) -> None:
        check_history(frames, max_bytes)
        self._store = store
        self._frames = frames
        self._max_bytes = max_bytes
        self._entries: deque[_Entry] = deque()

    def keep(self, start: int, snapshot: Snapshot) -> None:
        """Store the snapshot before the block that starts at pixel frame `start`."""
        self.forget_from(start)
        self._entries.append(_Entry(start, self._store.put(snapshot)))
        while len(self._entries) > 1 and self._has_too_much():
            self._store.drop(self._entries.popleft().key)

    def before(self, frame: int) -> Snapshot:
        """The snapshot before the last block that starts at or before a pixel frame.

        Raises:
            LookupError: no snapshot is that old.
        """
        entry = next((entry for entry in reversed(self._entries) if entry.start <= frame), None)
        if entry is None:
            raise LookupError(frame)
        return self._store.get(entry.key)

    def has(self, start: int) -> bool:
        """Whether the snapshot before the block that starts at a pixel frame is kept."""
        return any(entry.start == start for entry in self._entries)

    def forget_from(self, start: int) -> None:
        """Remove the snapshots from pixel frame `start` on."""
        while self._entries and self._entries[-1].start >= start:
            self._store.drop(self._entries.pop().key)

    @property
    def oldest(self) -> int | None:
        """The first pixel frame that can be rewound to; `None` without snapshots."""
        return self._entries[0].start if self._entries else None

    @property
    def nbytes(self) -> int:
        """Bytes of all snapshots; what they share counts once."""
        return self._store.nbytes

    def _has_too_much(self) -> bool:
        second, newest = self._entries[1].start, self._entries[-1].start
        return second <= newest - self._frames or self._store.nbytes > self._max_bytes


def check_history(frames: int, max_bytes: int) -> None:
    """Check that a history can hold a snapshot.

    Raises:
        ConfigError: `frames` or `max_bytes` is below 1.
    """
    if frames < 1 or max_bytes < 1:
        raise ConfigError(
            f"a history of {frames} frames and {max_bytes} bytes keeps nothing;"
            " give more than 0 of both"
        )


def open_disk_store(folder: Path, model: LoadedModel) -> DiskSnapshotStore:
    """The store of snapshots in a folder; raises ConfigError where it cannot be used."""
    try:
        return DiskSnapshotStore(folder, model)
    except OSError as error:
        raise ConfigError(f"folder {safe_text(folder)}: {os_reason(error)}") from error
