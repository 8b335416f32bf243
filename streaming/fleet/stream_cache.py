"""The streams in the memory of a replica: the least recently used ones are dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from .reply import BlockReply

if TYPE_CHECKING:
    from sana_stream.engine.session.drift import DriftGuard
    from sana_stream.engine.session.session import Session

    from .device import DeviceSession


@dataclass
class CachedStream:
    """A stream in memory: its session, its guard, and its last block for a repeated call."""

    session: Session
    guard: DriftGuard
    device: DeviceSession
    digest: str  # of the order up to the session's next block
    last: BlockReply | None = None
    last_digest: str = ""  # of the order up to and with the last block
    checked: tuple[str, str] | None = None  # the prompts that were checked for their length
    parts: list[int] = field(default_factory=list)


class StreamSlot:
    """The place of one stream, for one call at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.calls = 0  # that hold it or wait for it
        self.content: CachedStream | None = None

    def set(self, content: CachedStream | None) -> None:
        """Replace the stream in memory, or drop it."""
        if self.content is not None and self.content is not content:
            self.content.device.close()
        self.content = content


class StreamCache:
    """Streams by name. Calls of one stream follow each other, others run at the same time.

    Args:
        most: streams that are kept; while more are in use at the same time, more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots: OrderedDict[str, StreamSlot] = OrderedDict()
        self._lock = Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The streams in memory, the least recently used first."""
        with self._lock:
            return tuple(name for name, slot in self._slots.items() if slot.content is not None)

    @contextmanager
    def hold(self, name: str) -> Iterator[StreamSlot]:
        """The slot of a stream, once no other call holds it."""
        with self._lock:
            slot = self._slots.setdefault(name, StreamSlot())
            self._slots.move_to_end(name)
            slot.calls += 1
        try:
            with slot.lock:
                yield slot
        finally:
            with self._lock:
                slot.calls -= 1
                dropped = self._take_dropped()
            for each in dropped:
                each.set(None)

    def _take_dropped(self) -> list[StreamSlot]:
        """Take out slots that are empty, or too many, of those that no call uses."""
        unused = [name for name, slot in self._slots.items() if not slot.calls]
        dropped = [name for name in unused if self._slots[name].content is None]
        surplus = len(self._slots) - len(dropped) - self._most
        kept = [name for name in unused if self._slots[name].content is not None]
        dropped += kept[: max(0, surplus)]
        return [self._slots.pop(name) for name in dropped]
