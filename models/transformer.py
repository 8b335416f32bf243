"""The SANA-Video transformer: reads the state of earlier blocks, predicts velocity or an update.

Shapes: B batch, C latent channels, T latent frames of the block, h w latent rows and columns,
P tokens of a frame, N = T*P tokens, L text tokens, H heads, d head width, D = H*d.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import QK_NORM_EPS, AttentionState
from .config import TransformerConfig
from .fp8 import Activation, Fp8Linear, input_dtype
from .memory_policy import Past, StateUpdate
from .rope import RotaryEmbedding, rotary_embedding
from .transformer_block import NextNorm, TransformerBlock, random_table

SINUSOID_WIDTH = 256
MAX_PERIOD = 10000.0


def sinusoid(timestep: Tensor) -> Tensor:
    """Sinusoidal embedding of timesteps (...), 0 to 1000: float32 (..., 256), cosines first."""
    half = SINUSOID_WIDTH // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timestep.device) / half
    angles = timestep.float().unsqueeze(-1) * torch.exp(-math.log(MAX_PERIOD) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class _Mlp(nn.Module):
    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_features, width)
        self.linear_2 = nn.Linear(width, width)


class TimestepEmbedder(_Mlp):
    """Linear, SiLU, Linear."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TextProjection(_Mlp):
    """Linear, GELU (tanh form), Linear."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(x), approximate="tanh"))


class _Embedder(nn.Module):
    """Wrapper for the published parameter name `time_embed.emb.timestep_embedder`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.timestep_embedder = TimestepEmbedder(SINUSOID_WIDTH, width)


class TimeEmbedding(nn.Module):
    """Time embedding, and the six modulations (adaLN-single) that all layers share."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.emb = _Embedder(width)
        self.linear = nn.Linear(width, 6 * width)

    def forward(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Map timesteps (B, T or 1) to modulations (B, T or 1, 6, D) and embedding (..., D)."""
        embedded = self.emb.timestep_embedder(sinusoid(timestep).to(input_dtype(self.linear)))
        return self.linear(F.silu(embedded)).unflatten(-1, (6, -1)), embedded


TEXT_NORM_EPS = 1e-5
OUTPUT_NORM_EPS = 1e-6
MASKED = -10000.0  # added to the score of a padding token, as in training


class TextKV(NamedTuple):
    """Text keys and values of every layer, computed once per prompt."""

    keys: tuple[Tensor, ...]  # one (B, H, L, d) a layer
    values: tuple[Tensor, ...]  # one (B, H, L, d) a layer
    bias: Tensor | None  # (B, 1, 1, L), 0 or MASKED; None where no token is padding


def project_text(network: Any, embeds: Tensor, mask: Tensor, keep_padding: bool) -> TextKV:
    """Compute the keys and values of a prompt, for any transformer with these parts.

    Args:
        network: has `caption_projection`, `caption_norm`, `layers` with `attn2`, and `proj_out`.
        embeds, mask, keep_padding: as for `SanaVideoTransformer.prepare_text`.
    """
    length, padded = embeds.shape[1], True
    if not keep_padding:
        tokens = mask.bool().cpu()  # one read of the device
        length = int(tokens.any(dim=0).nonzero().max()) + 1
        padded = not bool(tokens[:, :length].all())
    dtype = input_dtype(network.proj_out)
    text = network.caption_norm(network.caption_projection(embeds[:, :length].to(dtype)))
    pairs = [layer.attn2.keys_values(text) for layer in network.layers]
    bias = (1 - mask[:, None, None, :length].to(dtype)) * MASKED if padded else None
    keys, values = zip(*pairs, strict=True)
    return TextKV(keys, values, bias)


class SanaVideoTransformer(nn.Module):
    """SANA-Video with the state as an argument; parameters named as in the diffusers layout.

    Args:
        config: shapes.
        cross_norm_eps: epsilon of cross attention's norms of queries and keys. It is 1e-5 in
            diffusers and 1e-6 in the authors' code; no configuration file has it.
    """

    def __init__(self, config: TransformerConfig, cross_norm_eps: float = QK_NORM_EPS) -> None:
        super().__init__()
        self.config = config
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv3d(config.in_channels, width, patch, stride=patch)
        self.time_embed = TimeEmbedding(width)
        self.caption_projection = TextProjection(config.caption_channels, width)
        self.caption_norm = nn.RMSNorm(width, eps=TEXT_NORM_EPS)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(config, cross_norm_eps) for _ in range(config.num_layers)
        )
        self.scale_shift_table = random_table(2, width)
        self.proj_out = nn.Linear(width, patch[0] * patch[1] * patch[2] * config.out_channels)

    def prepare_text(self, embeds: Tensor, mask: Tensor, *, keep_padding: bool = False) -> TextKV:
        """Project a prompt and compute each layer's keys and values.

        Args:
            embeds: (B, L, caption_channels).
            mask: (B, L), 1 for a token and 0 for padding.
            keep_padding: keep all L tokens and the bias, so that all prompts have one shape. By
                default the padding after the batch's last token is dropped: its softmax weight is
                exactly 0. Without any padding left there is no bias, and attention is faster.
        """
        return project_text(self, embeds, mask, keep_padding)

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past,
        start: int | Tensor,
        rotation: RotaryEmbedding | None = None,
    ) -> Tensor:
        """Predict the velocity `noise - x0` of noisy latents; the state is not changed.

        Args:
            latents: (B, C, T, h, w).
            timestep: 0 to 1000, (B,) or one per latent frame (B, T).
            text: the prompt, from `prepare_text`.
            past: state of the earlier blocks.
            start: absolute index of the first latent frame, an int or int64 (B,).
            rotation: `self.rotation(latents, start)`, if the caller has computed it.

        Returns:
            (B, out_channels, T, h, w), in the dtype of `latents`.
        """
        if rotation is None:
            rotation = self.rotation(latents, start)
        x = self.proj_out(self._run(latents, timestep, text, past, rotation).pop())
        return self._unpatch(x, latents.shape[-2:]).to(latents.dtype)

    def commit(
        self,
        latents: Tensor,
        text: TextKV,
        past: Past,
        start: int,
        rotation: RotaryEmbedding | None = None,
    ) -> StateUpdate:
        """Compute the state update of a clean block: one call at timestep 0.

        Arguments as for `denoise`, with `latents` the clean block x0.
        """
        timestep = torch.zeros(latents.shape[0], device=latents.device)
        if rotation is None:
            rotation = self.rotation(latents, start)
        updates: list[tuple[AttentionState, Tensor]] = []
        self._run(latents, timestep, text, past, rotation, updates)
        sums, conv_states = zip(*updates, strict=True)
        S, z = (torch.stack(parts) for parts in zip(*sums, strict=True))
        return StateUpdate(AttentionState(S, z), torch.stack(conv_states), start, latents.shape[2])

    def set_kernels(self, fused: bool) -> None:
        """Choose between the fused kernels, which must be registered, and the plain torch code."""
        for layer in self.layers:
            layer.fused = layer.attn1.fused = layer.ff.fused = fused
            if fused:
                layer.attn1.join_projections()
            for part in layer.modules():
                if isinstance(part, Fp8Linear):
                    part.fused = fused

    @property
    def fused(self) -> bool:
        """Whether the fused kernels run."""
        return any(layer.fused for layer in self.layers)

    @property
    def layers(self) -> list[TransformerBlock]:
        """The transformer blocks, first to last."""
        return [layer for layer in self.transformer_blocks if isinstance(layer, TransformerBlock)]

    def rotation(
        self, latents: Tensor, start: int | Tensor, device: torch.device | None = None
    ) -> RotaryEmbedding:
        """Rotary embedding of a block shaped as latents (B, C, T, h, w), on their device."""
        frames, grid = latents.shape[2], self.grid(latents.shape[-2], latents.shape[-1])
        return rotary_embedding(
            self.config.attention_head_dim, frames, *grid, start, device or latents.device
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Token rows and columns of a latent frame of height x width."""
        return height // self.config.patch_size[1], width // self.config.patch_size[2]

    def _run(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past,
        rotation: RotaryEmbedding,
        updates: list[tuple[AttentionState, Tensor]] | None = None,
    ) -> list[Activation]:
        """Run the layers; returns a list with the norm of their tokens.

        Args:
            updates: gets each layer's sums and conv state. With it the fused last layer's tokens
                are not computed, and the list that is returned is empty.
        """
        grid = self.grid(latents.shape[-2], latents.shape[-1])
        x = self.embed_patches(latents)
        modulation, embedded = self.time_embed(timestep.reshape(latents.shape[0], -1))
        layers = self.layers
        first, *others = (layer.next_norm(modulation) for layer in layers)
        output = NextNorm(self.scale_shift_table + embedded.unsqueeze(2), OUTPUT_NORM_EPS, False)
        carried = [layers[0].norm(x, first)]
        for i, following in enumerate((*others, output)):
            layer, own_text = layers[i], (text.keys[i], text.values[i], text.bias)
            inputs = modulation, rotation, own_text, past.layer(i), grid, carried
            if updates is not None and layer.fused and following is output:
                updates.append(layer.state(x, *inputs))
                break
            x, normed, sums, conv_state = layer(x, *inputs, following)
            carried.append(normed)
            if updates is not None:
                updates.append((sums, conv_state.clone()))
            del normed, conv_state  # which is a part of a tensor of the whole block's size
        return carried

    def embed_patches(self, latents: Tensor) -> Tensor:
        """Embed latents (B, C, T, h, w) as tokens (B, T, P, D), contiguous."""
        # The convolution has no overlap: one product, which writes tokens in their own order. The
        # order of the first tokens is that of every later layer, since residual sums keep it.
        _, rows, columns = self.config.patch_size
        patches = rearrange(
            latents.to(self.patch_embedding.weight.dtype),
            "b c t (h p) (w q) -> b t (h w) (c p q)",
            p=rows,
            q=columns,
        )
        weight = self.patch_embedding.weight.flatten(1)
        return F.linear(patches, weight, self.patch_embedding.bias)

    def _unpatch(self, x: Tensor, size: torch.Size) -> Tensor:
        _, rows, columns = self.config.patch_size
        return rearrange(
            x,
            "b t (h w) (p q c) -> b c t (h p) (w q)",
            h=size[0] // rows,
            p=rows,
            q=columns,
        )
