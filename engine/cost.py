"""What a block costs, counted from the shapes by running the networks on no data at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..models.attention import Sums
from ..models.config import TransformerConfig
from ..models.decoder_any import AnyDecoderConfig, make_decoder
from ..models.past import Past
from ..models.transformer import SanaVideoTransformer, TextContext


@dataclass(frozen=True, slots=True)
class BlockCost:
    """Floating-point operations (two a multiply-add) and weight bytes of one block."""

    denoise_flop: int  # one call of the transformer
    decode_flop: int  # a whole block that is not the first
    weight_bytes: int  # what one call of the transformer reads at the least
    calls: int  # of the transformer: the steps, and the commit

    @property
    def flop(self) -> int:
        """Operations of the whole block."""
        return self.calls * self.denoise_flop + self.decode_flop


def block_cost(
    transformer: TransformerConfig,
    decoder: AnyDecoderConfig,
    latent_frames: int,
    height: int,
    width: int,
    steps: int,
    text_tokens: int = 300,
    weight_size: int = 2,
) -> BlockCost:
    """Count a block.

    Args:
        latent_frames: of the block.
        height, width: pixels.
        steps: denoising calls a block; the commit is counted as one more.
        text_tokens: length of the prompt in tokens.
        weight_size: bytes of one weight.
    """
    factor = decoder.spatial_factor
    shape = (1, transformer.in_channels, latent_frames, height // factor, width // factor)
    with torch.device("meta"):
        model, painter = SanaVideoTransformer(transformer), make_decoder(decoder)
        latents, timestep = torch.empty(shape), torch.empty(1)
        text, past = _text(transformer, text_tokens), _past(transformer, model.grid(*shape[-2:]))
    denoise = _count(lambda: model.denoise(latents, timestep, text, past, 0))
    first = latents[:, :, :1]  # a stream's first latent frame is one picture, not whole
    longer = torch.cat((first, latents), dim=2)
    decode = _count(lambda: painter.decode(longer)) - _count(lambda: painter.decode(first))
    weights = sum(p.numel() for p in model.transformer_blocks.parameters()) * weight_size
    return BlockCost(denoise, decode, weights, steps + 1)


def _count(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def _text(config: TransformerConfig, tokens: int) -> TextContext:
    heads, width = config.num_cross_attention_heads, config.cross_attention_head_dim
    layers = tuple(torch.empty(1, heads, tokens, width) for _ in range(config.num_layers))
    return TextContext(layers, layers, torch.empty(1, 1, 1, tokens))


def _past(config: TransformerConfig, grid: tuple[int, int]) -> Past:
    shape = (config.num_layers, 1, config.num_attention_heads, config.attention_head_dim)
    sums = Sums(torch.empty(*shape, shape[-1]), torch.empty(shape))
    return Past(sums, torch.empty(shape[0], 1, grid[0] * grid[1], config.hidden_size))
