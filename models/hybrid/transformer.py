"""The SANA-Video 2.0 transformer, which predicts the velocity of a whole clip.

Of every four layers three have gated linear attention and one has softmax attention. There is no
state of earlier blocks: every token sees the whole clip, later frames included.

Shapes: B batch, C latent channels, T latent frames, h w latent rows and columns (one token each),
P = h*w, N = T*P tokens, L text tokens, D width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sana_stream.errors import ConfigError
from sana_stream.models.attention import CrossAttention
from sana_stream.models.embeddings import TextProjection, TimeEmbedding, random_table
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.rope import RotaryEmbedding, rotary_embedding
from sana_stream.models.text_kv import TEXT_NORM_EPS, TextKV, TextLayer, project_text
from sana_stream.models.transformer import OUTPUT_NORM_EPS
from sana_stream.models.transformer_block import modulate

from .attention import GatedLinearAttention, GatedSoftmaxAttention
from .config import HybridConfig
from .residual import ATTENTION, FEED_FORWARD, OUTPUT, AttentionResidual, Source, mix

NORM_EPS = 1e-6
CROSS_NORM_EPS = 1e-6
ONE_CLIP = (
    "this model generates one clip at a time and keeps no state of it: it cannot be continued; "
    "start a new session for another clip"
)


class HybridRotation(NamedTuple):
    """Rotary embeddings for the two head widths."""

    linear: RotaryEmbedding
    softmax: RotaryEmbedding


class GatedFeedForward(nn.Module):
    """Modulated SwiGLU: `gate * down(SiLU(gate_proj(x)) * up_proj(x))`."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        width, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        self.gate_proj = nn.Linear(width, hidden)
        self.up_proj = nn.Linear(width, hidden)
        self.down_proj = nn.Linear(hidden, width)

    def forward(self, hidden: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """Compute the update of tokens (B, T, P, D); modulations are (B, T or 1, 1, D)."""
        x = modulate(hidden, shift, scale, NORM_EPS)
        return gate * self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class HybridBlock(nn.Module):
    """Self-attention, cross attention and feed-forward; returns updates and adds nothing."""

    def __init__(self, config: HybridConfig, softmax: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.attn1: GatedLinearAttention | GatedSoftmaxAttention
        if softmax:
            self.attn1 = GatedSoftmaxAttention(width, config.softmax_head_dim)
        else:
            self.attn1 = GatedLinearAttention(width, config.linear_head_dim)
        self.attn2 = CrossAttention(config, CROSS_NORM_EPS)
        self.ff = GatedFeedForward(config)
        self.scale_shift_table = random_table(6, width)

    def tables(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of attention and of feed-forward: six of (B, T or 1, 1, D)."""
        return (self.scale_shift_table + modulation).unsqueeze(2).unbind(3)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile both sublayers, as `torch.nn.Module.compile`."""
        super().compile(*args, **kwargs)
        self.ff.compile(*args, **kwargs)

    def forward(
        self,
        hidden: Tensor,
        modulation: Tensor,
        rotation: RotaryEmbedding,
        text: TextLayer,
    ) -> Tensor:
        """Compute the update of the attention sublayer.

        Args:
            hidden: (B, T, P, D), the mean over depth.
            modulation: (B, T or 1, 6, D).
            rotation: for the head width of this layer.
            text: keys, values and bias of the prompt.
        """
        shift, scale, gate = self.tables(modulation)[:3]
        frames = hidden.shape[1]
        attended = self.attn1(modulate(hidden, shift, scale, NORM_EPS).flatten(1, 2), rotation)
        update = gate * attended.unflatten(1, (frames, -1))
        crossed = self.attn2((hidden + update).flatten(1, 2), text)
        return update + crossed.unflatten(1, (frames, -1))


class HybridTransformer(nn.Module):
    """SANA-Video 2.0; parameters are named as those of `SanaVideoTransformer` where alike."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.patch_embedding = nn.Conv3d(config.in_channels, width, 1)
        self.time_embed = TimeEmbedding(width)
        self.caption_projection = TextProjection(config.caption_channels, width)
        self.caption_norm = nn.RMSNorm(width, eps=TEXT_NORM_EPS)
        self.transformer_blocks = nn.ModuleList(
            HybridBlock(config, index in config.softmax_layers)
            for index in range(config.num_layers)
        )
        self.attn_res = AttentionResidual(width)
        self.scale_shift_table = random_table(2, width)
        self.proj_out = nn.Linear(width, config.out_channels)

    def prepare_text(self, embeds: Tensor, mask: Tensor, *, keep_padding: bool = False) -> TextKV:
        """Project a prompt, as `SanaVideoTransformer.prepare_text`."""
        return project_text(self, embeds, mask, keep_padding)

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past | None = None,
        start: int | Tensor = 0,
        rotation: HybridRotation | None = None,
    ) -> Tensor:
        """Predict the velocity `noise - x0` of a noisy clip.

        Args:
            latents: (B, C, T, h, w).
            timestep: 0 to 1000, (B,) or one per latent frame (B, T); rounded down, as in training.
            text: the prompt, from `prepare_text`.
            past: not used; the model has no state.
            start: absolute index of the first latent frame.
            rotation: `self.rotation(latents, start)`, if the caller has computed it.

        Returns:
            (B, out_channels, T, h, w), in the dtype of `latents`.
        """
        rotation = self.rotation(latents, start) if rotation is None else rotation
        x = self.patch_embedding(latents.to(self.patch_embedding.weight.dtype))
        x = rearrange(x, "b d t h w -> b t (h w) d")
        times = timestep.reshape(latents.shape[0], -1).float().trunc()
        modulation, embedded = self.time_embed(times)
        x = self._through_layers(x, modulation, rotation, text)
        shift, scale = (self.scale_shift_table + embedded.unsqueeze(2)).unsqueeze(3).unbind(2)
        x = self.proj_out(modulate(x, shift, scale, OUTPUT_NORM_EPS))
        rows = latents.shape[-2]
        return rearrange(x, "b t (h w) c -> b c t h w", h=rows).to(latents.dtype)

    def commit(self, latents: Tensor, text: TextKV, past: Past, start: int) -> StateUpdate:
        """Refuse to continue a clip.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(ONE_CLIP)

    @property
    def layers(self) -> list[HybridBlock]:
        """The transformer blocks, first to last."""
        return [layer for layer in self.transformer_blocks if isinstance(layer, HybridBlock)]

    def rotation(
        self, latents: Tensor, start: int | Tensor, device: torch.device | None = None
    ) -> HybridRotation:
        """Rotary embeddings of a clip shaped as latents (B, C, T, h, w), on their device."""
        frames, rows, columns = latents.shape[2:]
        where = device or latents.device
        linear, softmax = (
            rotary_embedding(head_dim, frames, rows, columns, start, where)
            for head_dim in (self.config.linear_head_dim, self.config.softmax_head_dim)
        )
        return HybridRotation(linear, softmax)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Token rows and columns of a latent frame: those of the latents."""
        return height, width

    def _through_layers(
        self, x: Tensor, modulation: Tensor, rotation: HybridRotation, text: TextKV
    ) -> Tensor:
        """Run all layers on tokens (B, T, P, D); return the mean over depth for the output."""
        frames = x.shape[1]
        done: list[Source] = [self.attn_res.source(x.flatten(1, 2))]
        partial: Tensor | None = None  # the sum of the updates of the layers since

        def hidden(query: int, last: Tensor | None) -> Tensor:
            pending = [] if last is None else [self.attn_res.source(last)]
            return mix([*done, *pending], query).unflatten(1, (frames, -1))

        for index, layer in enumerate(self.layers):
            own_text = text.layer(index)
            turn = rotation[index in self.config.softmax_layers]
            update: Tensor = layer(hidden(ATTENTION, partial), modulation, turn, own_text)
            update = update.flatten(1, 2)
            partial = update if partial is None else partial + update
            update = layer.ff(hidden(FEED_FORWARD, partial), *layer.tables(modulation)[3:])
            partial = partial + update.flatten(1, 2)
            if (index + 1) % self.config.attn_res_block_size == 0:
                done.append(self.attn_res.source(partial))
                partial = None
        return hidden(OUTPUT, partial)
