"""Memory of paused streams, moved to the host while other streams need the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sana_stream.engine.snapshot.snapshot import Snapshot

Move = Callable[[Tensor], Tensor]


class StreamMemory(NamedTuple):
    """The tensors that a stream keeps between two blocks."""

    cache: tuple[Tensor, ...]  # of the decoder
    rest: tuple[Tensor, ...]


class Swap:
    """Moves the tensors of streams between a device and pinned host memory, in place.

    Snapshots hold the moved tensors: nothing is copied twice, and no reference keeps the device's
    memory.

    Args:
        device: what the streams run on; on the CPU nothing is moved.
        to_host, to_device: the moves; default: by `device`.
    """

    def __init__(
        self, device: torch.device, to_host: Move | None = None, to_device: Move | None = None
    ) -> None:
        self._moves = device.type == "cuda" or to_host is not None
        self._to_host = to_host or _pinned
        self._to_device = to_device or (lambda tensor: _copied(tensor, device))
        self._away: dict[int, list[Tensor]] = {}  # by stream

    def out(self, stream: int, tensors: Iterable[Tensor], wanted: int) -> int:
        """Move tensors of a stream to the host, in their order.

        Args:
            stream: its number.
            tensors: they must not be in use.
            wanted: bytes to be freed.

        Returns:
            Bytes that were freed; what was moved before does not count.
        """
        if not self._moves:
            return 0
        away, freed = self._away.setdefault(stream, []), 0
        known = {id(tensor) for tensor in away}
        for tensor in tensors:
            if freed >= wanted:
                break
            if id(tensor) not in known:
                known.add(id(tensor))
                freed += tensor.nbytes
                tensor.data = self._to_host(tensor.data)
                away.append(tensor)
        return freed

    def back(self, stream: int) -> None:
        """Move a stream's tensors back to the device."""
        for tensor in self._away.pop(stream, ()):
            tensor.data = self._to_device(tensor.data)

    def bytes_away(self, stream: int) -> int:
        """Bytes of a stream that are on the host."""
        return sum(tensor.nbytes for tensor in self._away.get(stream, ()))

    def make_room(self, wanted: int, idle: Iterable[tuple[int, StreamMemory]]) -> int:
        """Free memory of idle streams: every decoder's cache, then the rest.

        Args:
            wanted: bytes.
            idle: numbers and memory of streams, least recently due first.

        Returns:
            Bytes that were freed.
        """
        freed, idle = 0, list(idle)
        for part in range(len(StreamMemory._fields)):
            for stream, memory in idle:
                if freed >= wanted:
                    return freed
                freed += self.out(stream, memory[part], wanted - freed)
        return freed


def memory_of(snapshot: Snapshot, held: Iterable[Tensor] = ()) -> StreamMemory:
    """The tensors of a stream.

    Args:
        snapshot: its newest one.
        held: the decoder's cache, where it is not in the snapshot.
    """
    cache = () if snapshot.cache is None else snapshot.cache.tails
    states: list[Tensor] = []
    for state in snapshot.states:
        states += [tensor for slot in state.memory.slots for tensor in slot.sums]
        states.append(state.conv_state)
    return StreamMemory((*held, *cache), (*states, *snapshot.recent_latents))


def _pinned(tensor: Tensor) -> Tensor:
    host = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor)


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    # the same strides: convolutions choose their algorithm by them
    target = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    return target.copy_(tensor)
