"""TAEHV: a small approximate decoder of Wan 2.1 latents, in the published layout (taew2_1).

Frames go through 2-D convolutions one by one. Each memory block also sees the previous frame at
its own level, so streaming needs one cached frame a block. Decoding is less exact than the VAE's
and takes a small part of its time and memory.

Shapes: B batch, C = 16 latent channels, T' latent frames of h × w, T frames of H × W.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sana_stream._text import name_list, shape_text
from sana_stream.errors import CheckpointError

from .config import check_latents
from .layers import ConvCache, StreamingLayer, Tails, next_tail, run_layers
from .layout import empty_clip, from_frames, interleave_frames, last_frames, to_frames
from .streaming import VAECache, matching_tails

LATENT_CHANNELS = 16
WIDTHS = (256, 128, 64, 64)
TEMPORAL = (1, 2, 2)  # output frames per input frame at each level
MEM_BLOCKS = 3  # memory blocks at each level
PREFIX = "decoder."


@dataclass(frozen=True, slots=True)
class TAEHVConfig:
    """Sizes of the small decoder, which are fixed."""

    z_dim: int = LATENT_CHANNELS
    temporal_factor: int = TEMPORAL[1] * TEMPORAL[2]
    spatial_factor: int = 2 ** len(TEMPORAL)
    decoder_dim: int = WIDTHS[-1]

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames: one frame a memory block, at its level's rate."""
        rates = (1, TEMPORAL[0], TEMPORAL[0] * TEMPORAL[1])
        return ceil(sum(MEM_BLOCKS / rate for rate in rates))


class MemBlock(StreamingLayer):
    """Three convolutions of each frame together with the previous one, and a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * dim, dim), nn.ReLU(), _conv(dim, dim), nn.ReLU(), _conv(dim, dim)
        )

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        mixed = self.conv(to_frames(self._with_previous(x, next_tail(tails))))
        return F.relu(from_frames(mixed, x.shape[0]) + x), (last_frames(x, 1),)

    def _with_previous(self, x: Tensor, before: Tensor | None) -> Tensor:
        """The channels of each frame, and then those of the previous one."""
        weight: Tensor = self.conv[0].weight  # type: ignore[assignment]
        dim, frames = x.shape[1:3]
        both = empty_clip(x, 2 * dim, frames, weight)
        both[:, :dim] = x
        both[:, dim:, :1] = 0 if before is None else before
        both[:, dim:, 1:] = x[:, :, :-1]
        return both


class TGrow(StreamingLayer):
    """Temporal upsampling: each frame becomes `stride` frames, by a 1x1 convolution."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim * stride, 1, bias=False)
        self.stride = stride

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        grown = from_frames(self.conv(to_frames(x)), x.shape[0])
        if self.stride == 1:
            return grown, ()
        return interleave_frames(list(grown.chunk(self.stride, dim=1)), self.conv.weight), ()


class PerFrame(StreamingLayer):
    """Adapter for a layer that processes single frames; parameters keep the layer's names."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        return from_frames(self.layer(to_frames(x)), x.shape[0]), ()


class SoftClamp(nn.Module):
    """Soft clamp of latents, `3 tanh(x / 3)`."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class LayerStack(nn.ModuleList):
    """Layers in sequence, called as one layer."""

    def __init__(self, layers: Iterable[StreamingLayer]) -> None:
        super().__init__(layers)

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        return run_layers(self.sequence(), x, tails)

    def sequence(self) -> Iterable[StreamingLayer]:
        """The layers in the order of their calls."""
        return self  # type: ignore[return-value]


class TAEHVDecoder(nn.Module):
    """Streaming decoder of normalised Wan 2.1 latents; approximate."""

    def __init__(self) -> None:
        super().__init__()
        self.config = TAEHVConfig()
        layers: list[StreamingLayer] = [
            PerFrame(SoftClamp()),
            PerFrame(_conv(LATENT_CHANNELS, WIDTHS[0])),
            PerFrame(nn.ReLU()),
        ]
        for level, stride in enumerate(TEMPORAL):
            dim, out_dim = WIDTHS[level : level + 2]
            layers += [MemBlock(dim) for _ in range(MEM_BLOCKS)]
            layers.append(PerFrame(nn.Upsample(scale_factor=2)))
            layers.append(TGrow(dim, stride))
            layers.append(PerFrame(_conv(dim, out_dim, bias=False)))
        layers += [PerFrame(nn.ReLU()), PerFrame(_conv(WIDTHS[-1], 3))]
        self.decoder = LayerStack(layers)

    def decode(self, latents: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Decode the next latents of a stream.

        Args:
            latents: (B, 16, T', h, w), normalised.
            cache: the cache that the last call returned; `None` at the start of the stream.

        Returns:
            Float32 frames (B, 3, T, 8h, 8w) in [-1, 1], four per latent frame and one for the
            stream's first, and the cache for the next call.

        Raises:
            ConfigError: latents of another shape, or the cache of another stream.
        """
        check_latents(latents, LATENT_CHANNELS)
        prepared = self.denormalize(latents)
        tails = matching_tails(cache, prepared, WIDTHS[0])
        frames, kept = self.decode_frames(prepared, tails)
        return frames.clamp(-1, 1), VAECache(kept)

    def denormalize(self, latents: Tensor) -> Tensor:
        """Convert latents to the input of `decode_frames`."""
        return latents.to(next(self.parameters()).dtype)

    def decode_frames(self, prepared: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        """Decode the output of `denormalize`: float32 frames, not clamped, and the new tails."""
        x, kept = self.decoder(prepared, tails)
        skipped = TEMPORAL[1] * TEMPORAL[2] - 1 if tails is None else 0
        return x[:, :, skipped:].float() * 2 - 1, kept

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the decoder's weights from a TAEHV checkpoint; its encoder is ignored.

        Raises:
            CheckpointError: a weight is missing, unknown or of another shape.
        """
        own = {self._published(name): name for name in self.state_dict()}
        given = {name: t for name, t in tensors.items() if name.startswith(PREFIX)}
        if odd := sorted(own.keys() ^ given.keys()):
            raise CheckpointError(
                f"not TAEHV's layout for Wan 2.1 (taew2_1): {name_list(odd)} missing or unknown"
            )
        expected = self.state_dict()
        for name, tensor in given.items():
            if tensor.shape != expected[own[name]].shape:
                raise CheckpointError(
                    f"not TAEHV's layout for Wan 2.1 (taew2_1): {name} has shape"
                    f" {shape_text(tensor.shape)}, not {tuple(expected[own[name]].shape)}"
                )
        self.load_state_dict({own[name]: tensor for name, tensor in given.items()})

    @staticmethod
    def _published(name: str) -> str:
        return name.replace(".layer.", ".")


def _conv(dim: int, out_dim: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(dim, out_dim, 3, padding=1, bias=bias)
