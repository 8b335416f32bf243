"""The process groups of a stream's devices, and what one process is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import StateUpdate

from .exchange import Exchange, Traffic
from .layout import Layout

TIMEOUT = timedelta(minutes=10)  # of a collective; the slowest process may load or compile


def join_world(store: dist.Store, rank: int, size: int, device: torch.device) -> None:
    """Initialize torch.distributed: NCCL on CUDA devices, gloo on the CPU."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore("sana_stream_groups", store),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )


def leave_world(failed: bool) -> None:
    """Undo `join_world`; after a failure without waiting for the other processes."""
    if not dist.is_initialized():
        return
    if failed and dist.get_backend() == "nccl":
        abort_collectives()
    else:
        dist.destroy_process_group()


def abort_collectives() -> None:
    """End the collectives that wait for a process that is gone; gloo notices by itself."""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()


@dataclass(frozen=True, slots=True)
class Place:
    """One process among those that sample a stream."""

    exchange: Exchange | None  # with those that compute the same call
    guidance: dist.ProcessGroup | None  # with the one that has the same part of the other prompt
    branch: int  # 0: of the prompt, 1: of the negative prompt
    traffic: Traffic

    def run_calls(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of the calls for the prompt and the negative prompt.

        With a guidance group each process makes one of the calls.
        """
        if self.guidance is None or len(calls) == 1:
            return [call() for call in calls]
        own = calls[self.branch]()
        if isinstance(own, Tensor):
            return self._gather(own)
        assert isinstance(own, StateUpdate)
        parts = zip(*map(self._gather, (*own.sums, own.conv_state)), strict=True)
        return [
            StateUpdate(AttentionState(S, z), tails, own.start, own.frames) for S, z, tails in parts
        ]

    def _gather(self, own: Tensor) -> list[Tensor]:
        own = own.contiguous()
        both = [torch.empty_like(own) for _ in range(2)]
        dist.all_gather(both, own, group=self.guidance)
        self.traffic["guidance"] += own.nbytes
        return both


class Groups:
    """The process groups of each layout, made once; every process makes them in the same order.

    Args:
        device: of this process.
        rank: of this process.
    """

    def __init__(self, device: torch.device, rank: int) -> None:
        self._device = device
        self._rank = rank
        self._places: dict[Layout, Place | None] = {}
        self.traffic: Traffic = Counter()

    def has(self, layout: Layout) -> bool:
        """Whether the groups of a layout exist."""
        return layout in self._places

    def place(self, layout: Layout) -> Place | None:
        """This process's place; None where it does not sample."""
        if layout not in self._places:
            self._places[layout] = self._make(layout)
        return self._places[layout]

    def _make(self, layout: Layout) -> Place | None:
        ranks = torch.arange(layout.sampling).view(layout.guidance, layout.context)
        mesh = DeviceMesh(self._device.type, ranks, mesh_dim_names=("guidance", "context"))
        if self._rank >= layout.sampling:
            return None
        exchange = None
        if layout.context > 1:
            exchange = Exchange(mesh.get_group("context"), layout, self.traffic)
        guidance = mesh.get_group("guidance") if layout.guidance > 1 else None
        return Place(exchange, guidance, self._rank // layout.context, self.traffic)
