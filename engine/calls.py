"""What a stream asks of the networks: answered by them, or from recordings of their work."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..models.past import Contribution, Past
from ..models.rope import Rotation
from ..models.transformer import TextContext
from ..models.vae import VaeCache


class TransformerCalls(Protocol):
    """`SanaVideoTransformer`'s calls, with its shapes and dtypes."""

    def prepare_text(self, embeds: Tensor, mask: Tensor) -> TextContext: ...

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextContext,
        past: Past,
        start: int,
        rotation: Rotation | None = None,
    ) -> Tensor: ...

    def commit(
        self, latents: Tensor, text: TextContext, past: Past, start: int
    ) -> Contribution: ...


class DecoderCalls(Protocol):
    """A decoder's call, as `WanVAE.decode` describes it."""

    def decode(self, latents: Tensor, cache: VaeCache | None = None) -> tuple[Tensor, VaeCache]: ...
