"""Where snapshots are kept: in the machine's memory, or as files in a folder."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from .snapshot import Snapshot
from .snapshot_file import load_snapshot, save_snapshot
from .snapshot_tensors import map_tensors

if TYPE_CHECKING:
    from .engine import Engine


class Shelf(Protocol):
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


class MemoryShelf:
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


class FolderShelf:
    """Snapshots as checkpoint files in a folder, each of which `Engine.resume` takes.

    Files that are there already keep their names.
    """

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder = folder
        self._engine = engine
        self._keys = count()
        self._sizes: dict[int, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, snapshot: Snapshot) -> int:
        key = next(key for key in self._keys if not self._file(key).exists())
        save_snapshot(self._file(key), snapshot, self._engine)
        self._sizes[key] = self._file(key).stat().st_size
        return key

    def get(self, key: int) -> Snapshot:
        return load_snapshot(self._file(key), self._engine)

    def drop(self, key: int) -> None:
        del self._sizes[key]
        self._file(key).unlink(missing_ok=True)

    @property
    def nbytes(self) -> int:
        return sum(self._sizes.values())

    def _file(self, key: int) -> Path:
        return self._folder / f"{key:08d}.ckpt"
