"""The transformer's calls on a part of a block's tokens: context parallelism.

Shapes: B batch, T latent frames of the block, P tokens of a frame, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sana_stream.models.attention import AttentionState, SelfAttention, linear_attention
from sana_stream.models.feedforward import FeedForward
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.rope import RotaryEmbedding
from sana_stream.models.transformer import SanaVideoTransformer, TextKV

from .exchange import Exchange


class ContextParallelCalls:
    """The calls of a transformer whose block is divided while `active` is entered.

    Each device runs the unchanged network on its latent frames and token rows. Attention adds up
    the sums of all devices, the convolutions exchange neighbours. Outside of `active` every call
    runs whole, in this process alone.

    Args:
        transformer: gets hooks in its attention and feed-forward modules, which do nothing outside
            of `active`.
    """

    def __init__(self, transformer: SanaVideoTransformer) -> None:
        self._transformer = transformer
        self.exchange: Exchange | None = None
        for layer in transformer.layers:
            # attributes of the modules, found before their class's methods
            layer.attn1.forward = ParallelAttention(layer.attn1, self)  # type: ignore[method-assign]
            layer.ff.forward = ParallelFeedForward(layer.ff, self)  # type: ignore[method-assign]

    @contextmanager
    def active(self, exchange: Exchange) -> Iterator[None]:
        """Divide the calls made inside the context."""
        self.exchange = exchange
        try:
            yield
        finally:
            self.exchange = None

    def prepare_text(self, embeds: Tensor, mask: Tensor) -> TextKV:
        """As `SanaVideoTransformer`'s method."""
        return self._transformer.prepare_text(embeds, mask)

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past,
        start: int,
        rotation: Any = None,
    ) -> Tensor:
        """As `SanaVideoTransformer`'s method: the whole velocity, the same bits on each device."""
        if self.exchange is None:
            return self._transformer.denoise(latents, timestep, text, past, start, rotation)
        shard = _Shard(self._transformer, self.exchange, latents.shape)
        if rotation is None:
            rotation = self._transformer.rotation(latents, start)
        velocity = self._transformer.denoise(
            shard.latents(latents),
            shard.times(timestep),
            text,
            shard.past(past),
            start,
            shard.rotation(rotation),
        )
        return self.exchange.gather_latents(velocity, latents.shape, shard.scale)

    def commit(self, latents: Tensor, text: TextKV, past: Past, start: int) -> StateUpdate:
        """As `SanaVideoTransformer`'s method: the whole update, the same bits on each device."""
        if self.exchange is None:
            return self._transformer.commit(latents, text, past, start)
        shard = _Shard(self._transformer, self.exchange, latents.shape)
        rotation = shard.rotation(self._transformer.rotation(latents, start))
        own = self._transformer.commit(
            shard.latents(latents), text, shard.past(past), start, rotation
        )
        conv_state = self.exchange.share_conv_state(own.conv_state, shard.grid[0])
        return StateUpdate(own.sums, conv_state, start, latents.shape[2])


class _Shard:
    """One device's part of a block's inputs."""

    def __init__(
        self, transformer: SanaVideoTransformer, exchange: Exchange, shape: torch.Size
    ) -> None:
        self._shape = shape
        self.grid = transformer.grid(shape[3], shape[4])
        self.scale = transformer.config.patch_size[1]
        self._frames = slice(*exchange.frames(shape[2]))
        self._rows = slice(*exchange.rows(self.grid[0]))

    def latents(self, latents: Tensor) -> Tensor:
        rows = slice(self._rows.start * self.scale, self._rows.stop * self.scale)
        return latents[:, :, self._frames, rows]

    def times(self, timestep: Tensor) -> Tensor:
        """One timestep a frame is divided; one of all frames is not."""
        times = timestep.reshape(self._shape[0], -1)
        return times[:, self._frames] if times.shape[1] > 1 else times

    def past(self, past: Past) -> Past:
        width = self.grid[1]
        tokens = slice(self._rows.start * width, self._rows.stop * width)
        return Past(past.sums, past.conv_state[:, :, tokens])

    def rotation(self, rotation: RotaryEmbedding) -> RotaryEmbedding:
        return RotaryEmbedding(*map(self._tokens, rotation))

    def _tokens(self, table: Tensor) -> Tensor:
        grid = table.unflatten(1, (self._shape[2], *self.grid))
        return grid[:, self._frames, self._rows].flatten(1, 3)


class ParallelAttention:
    """The call of a linear attention that adds up the sums of all devices.

    Args:
        attention: its own call runs outside of `active`.
        calls: whose exchange is used.
    """

    def __init__(self, attention: SelfAttention, calls: ContextParallelCalls) -> None:
        self._attention = attention
        self._plain = attention.forward
        self._calls = calls

    def __call__(
        self, x: Tensor, rotation: RotaryEmbedding, past: AttentionState
    ) -> tuple[Tensor, AttentionState]:
        exchange, attention = self._calls.exchange, self._attention
        if exchange is None:
            return self._plain(x, rotation, past)
        features = attention.features(x)
        output, own = linear_attention(*features, rotation, past, exchange.reduce)
        return attention.to_out[0](output.flatten(2).to(x.dtype)), own


class ParallelFeedForward:
    """The call of a feed-forward that exchanges rows and frames with its neighbours.

    Args:
        feedforward: its own call runs outside of `active`.
        calls: whose exchange is used.
    """

    def __init__(self, feedforward: FeedForward, calls: ContextParallelCalls) -> None:
        self._feedforward = feedforward
        self._plain = feedforward.forward
        self._calls = calls

    def __call__(
        self, x: Tensor, height: int, width: int, conv_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        exchange, own = self._calls.exchange, self._feedforward
        if exchange is None:
            return self._plain(x, height, width, conv_state)
        spatial = _spatial_conv(own, exchange, x, height, width)
        before, after = exchange.frame_neighbours(spatial[:, 0], spatial[:, -1])
        before = conv_state if before is None else before
        # one more frame takes the place of the zeros after the last frame; its output is dropped
        longer = spatial if after is None else torch.cat((spatial, after.unsqueeze(1)), dim=1)
        temporal = own.temporal_conv_in_place if own.fused else own.temporal_conv
        return temporal(longer, before)[:, : x.shape[1]], spatial[:, -1]


def _spatial_conv(
    feedforward: FeedForward, exchange: Exchange, x: Tensor, height: int, width: int
) -> Tensor:
    """The gated convolution of this device's rows, computed with a row of each neighbour."""
    above, below = exchange.row_neighbours(x[:, :, :width], x[:, :, -width:])
    rows = [part for part in (above, x, below) if part is not None]
    if len(rows) == 1:
        return feedforward.spatial_conv(x, height, width)
    joined = torch.cat(rows, dim=2)
    mixed = feedforward.spatial_conv(joined, joined.shape[2] // width, width)
    first = 0 if above is None else width
    return mixed[:, :, first : first + x.shape[2]]
