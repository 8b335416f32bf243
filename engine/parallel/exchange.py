"""Communication of the devices that compute one call of the transformer together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from sana_stream.models.attention import AttentionState

from .layout import Layout, spans

Traffic = Counter[str]
"""Bytes that this process has sent: of sums, neighbours, velocity, conv_state and guidance.

An all-reduce and an all-gather count as rings, `2 (p - 1) / p` and `p - 1` of the tensor. A
broadcast counts as one copy by its source.
"""


class Exchange:
    """One device's place among those of a call: a grid of latent frames x token rows.

    Args:
        group: of the devices, in the order of the grid.
        layout: the grid.
        traffic: counts the bytes sent.
    """

    def __init__(self, group: dist.ProcessGroup, layout: Layout, traffic: Traffic) -> None:
        self._group = group
        self._ranks = dist.get_process_group_ranks(group)
        self._layout = layout
        self._traffic = traffic
        self.frame_part, self.row_part = divmod(dist.get_rank(group), layout.rows)

    def frames(self, total: int) -> tuple[int, int]:
        """This device's latent frames of `total`."""
        return spans(total, self._layout.frames)[self.frame_part]

    def rows(self, total: int) -> tuple[int, int]:
        """This device's token rows of `total`."""
        return spans(total, self._layout.rows)[self.row_part]

    def reduce(self, own: AttentionState) -> AttentionState:
        """The sum of all devices' attention sums, the same bits on each: one all-reduce."""
        S, z = own
        joined = torch.cat((S.flatten(), z.flatten()))
        dist.all_reduce(joined, group=self._group)
        count = self._layout.context
        self._traffic["sums"] += 2 * (count - 1) * joined.nbytes // count
        first, second = joined.split((S.numel(), z.numel()))
        return AttentionState(first.view_as(S), second.view_as(z))

    def frame_neighbours(self, first: Tensor, last: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The neighbours' tensors along the frames: the previous part's last, the next's first."""
        step, place, count = self._layout.rows, self.frame_part, self._layout.frames
        return self._swap(first, last, step, place > 0, place < count - 1)

    def row_neighbours(self, first: Tensor, last: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """As `frame_neighbours`, along the rows."""
        place, count = self.row_part, self._layout.rows
        return self._swap(first, last, 1, place > 0, place < count - 1)

    def _swap(
        self, first: Tensor, last: Tensor, step: int, has_previous: bool, has_next: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        mine, operations = dist.get_rank(self._group), []
        received: list[Tensor | None] = [None, None]
        sides = ((0, has_previous, mine - step, first), (1, has_next, mine + step, last))
        for side, exists, index, tensor in sides:
            if not exists:
                continue
            peer, sent, got = self._ranks[index], tensor.contiguous(), torch.empty_like(tensor)
            got = got.contiguous()
            operations.append(dist.P2POp(dist.isend, sent, peer, self._group))
            operations.append(dist.P2POp(dist.irecv, got, peer, self._group))
            received[side] = got
            self._traffic["neighbours"] += sent.nbytes
        if operations:
            for work in dist.batch_isend_irecv(operations):
                work.wait()
        return received[0], received[1]

    def gather_latents(self, own: Tensor, shape: Sequence[int], scale: int) -> Tensor:
        """The whole tensor (B, C, T, h, w) of which each device has its frames and rows.

        Args:
            own: this device's part.
            shape: of the whole tensor.
            scale: latent rows of a token row.
        """
        batch, channels, frames, height, width = shape
        of_frames = spans(frames, self._layout.frames)
        of_rows = spans(height // scale, self._layout.rows)
        largest = (of_frames[0][1], of_rows[0][1] * scale)
        padded = own.new_zeros((batch, channels, *largest, width))
        padded[:, :, : own.shape[2], : own.shape[3]] = own
        pieces = [torch.empty_like(padded) for _ in self._ranks]
        dist.all_gather(pieces, padded, group=self._group)
        self._traffic["velocity"] += (len(pieces) - 1) * padded.nbytes
        whole = own.new_empty(tuple(shape))
        for index, piece in enumerate(pieces):
            frame_part, row_part = divmod(index, self._layout.rows)
            (f0, f1), (r0, r1) = of_frames[frame_part], of_rows[row_part]
            r0, r1 = r0 * scale, r1 * scale
            whole[:, :, f0:f1, r0:r1] = piece[:, :, : f1 - f0, : r1 - r0]
        return whole

    def share_conv_state(self, own: Tensor, rows: int) -> Tensor:
        """The convolution states (n, B, P, D) of the block's last frame, on every device.

        Args:
            own: (n, B, P', D) of this device's last frame and rows.
            rows: token rows of a frame.
        """
        width = own.shape[2] // (self.rows(rows)[1] - self.rows(rows)[0])
        parts = []
        for row_part, (first, end) in enumerate(spans(rows, self._layout.rows)):
            source = (self._layout.frames - 1) * self._layout.rows + row_part
            if source == dist.get_rank(self._group):
                part = own.contiguous()
                self._traffic["conv_state"] += part.nbytes
            else:
                part = own.new_empty((*own.shape[:2], (end - first) * width, own.shape[3]))
            dist.broadcast(part, self._ranks[source], group=self._group)
            parts.append(part)
        return torch.cat(parts, dim=2)
