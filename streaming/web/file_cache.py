"""What was read from files, kept until they change, of a bounded size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


def _one(_: object) -> int:
    return 1


class FileCache(Generic[T]):
    """Keeps the values used last; reads one file at a time. May be used from any thread.

    Args:
        most: of the sizes of all values; a single larger one is kept.
        size: of a value. Default: `most` is a number of values.
    """

    def __init__(self, most: int, size: Callable[[T], int] = _one) -> None:
        self._most = most
        self._size = size
        self._lock = Lock()  # of the values
        self._reading = Lock()
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, path: Path, read: Callable[[Path], T], *states: Hashable) -> T:
        """What `read` returns for a file; raises as `read`, and OSError where there is no file.

        The value that was kept for the file's size and time and for `states` is returned without
        reading.
        """
        found = path.stat()
        key = (path, found.st_size, found.st_mtime_ns, states)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._reading:
            with self._lock:
                if key in self._kept:  # another thread has read it meanwhile
                    return self._kept[key]
            value = read(path)
            with self._lock:
                self._keep(key, value)
            return value

    def _keep(self, key: Hashable, value: T) -> None:
        self._kept[key] = value
        while sum(map(self._size, self._kept.values())) > self._most and len(self._kept) > 1:
            self._kept.popitem(last=False)
