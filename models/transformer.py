"""The SANA-Video transformer: reads the state of earlier blocks, predicts velocity or an update.

Shapes: B batch, C latent channels, T latent frames of the block, h w latent rows and columns,
P tokens of a frame, N = T*P tokens, L text tokens, H heads, d head width, D = H*d.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import QK_NORM_EPS, AttentionState
from .config import TransformerConfig
from .embeddings import TextProjection, TimeEmbedding, random_table
from .fp8 import Activation, Fp8Linear
from .memory_policy import Past, StateUpdate
from .rope import RotaryEmbedding, rotary_embedding
from .text_kv import TEXT_NORM_EPS, TextBatch, TextKV, project_text
from .transformer_block import NextNorm, TransformerBlock

OUTPUT_NORM_EPS = 1e-6


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
        return self._velocity(self._run(latents, timestep, text, past, rotation).pop(), latents)

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
        self._run(latents, timestep, text, past, rotation, updates, tokens=False)
        return _state_update(updates, slice(None), start, latents.shape[2])

    def run_batch(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text: TextBatch,
        pasts: Sequence[Past],
        starts: Sequence[int],
        commits: Sequence[bool],
    ) -> list[Tensor | StateUpdate]:
        """Run the calls of several streams as one; on the CPU each equals its call alone.

        Args:
            latents: (B, C, T, h, w); for a commit the clean block.
            timesteps: 0 to 1000, (B, 1 or T); 0 for a commit.
            text: the prompts.
            pasts, starts: as for `denoise`, one for each item.
            commits: which items are commits.

        Returns:
            For each item the velocity (1, out_channels, T, h, w), or the state update.
        """
        sums, conv_states = zip(*pasts, strict=True)
        S, z = (torch.cat(parts, dim=1) for parts in zip(*sums, strict=True))
        past = Past(AttentionState(S, z), torch.cat(conv_states, dim=1))
        turns = [self.rotation(latents, start) for start in starts]
        rotation = RotaryEmbedding(*(torch.cat(parts) for parts in zip(*turns, strict=True)))
        updates: list[tuple[AttentionState, Tensor]] = []
        normed = self._run(latents, timesteps, text, past, rotation, updates).pop()
        wanted = [item for item, commit in enumerate(commits) if not commit]
        velocities = iter(())
        if wanted:
            assert isinstance(normed, Tensor)
            velocities = iter(self._velocity(normed[wanted], latents).split(1))
        return [
            _state_update(updates, item, starts[item], latents.shape[2])
            if commit
            else next(velocities)
            for item, commit in enumerate(commits)
        ]

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
        text: TextKV | TextBatch,
        past: Past,
        rotation: RotaryEmbedding,
        updates: list[tuple[AttentionState, Tensor]] | None = None,
        *,
        tokens: bool = True,
    ) -> list[Activation]:
        """Run the layers; returns a list with the norm of their tokens.

        Args:
            updates: gets each layer's sums and conv state.
            tokens: whether the tokens are needed. Without them, those of the fused last layer are
                not computed, and the list that is returned is empty.
        """
        grid = self.grid(latents.shape[-2], latents.shape[-1])
        x = self.embed_patches(latents)
        # item by item: a product of one row may be computed otherwise than one of several
        times = timestep.reshape(latents.shape[0], -1).split(1)
        embeddings = [self.time_embed(each) for each in times]
        modulation, embedded = embeddings[0]
        if len(embeddings) > 1:
            modulation, embedded = (torch.cat(part) for part in zip(*embeddings, strict=True))
        layers = self.layers
        first, *others = (layer.next_norm(modulation) for layer in layers)
        output = NextNorm(self.scale_shift_table + embedded.unsqueeze(2), OUTPUT_NORM_EPS, False)
        carried = [layers[0].norm(x, first)]
        for i, following in enumerate((*others, output)):
            layer = layers[i]
            inputs = modulation, rotation, text.layer(i), past.layer(i), grid, carried
            if updates is not None and not tokens and layer.fused and following is output:
                updates.append(layer.state(x, *inputs))
                break
            x, normed, sums, conv_state = layer(x, *inputs, following)
            carried.append(normed)
            if updates is not None:
                updates.append((sums, conv_state.clone()))
            del normed, conv_state  # which is a part of a tensor of the whole block's size
        return carried

    def _velocity(self, normed: Activation, latents: Tensor) -> Tensor:
        x = self.proj_out(normed)
        return self._unpatch(x, latents.shape[-2:]).to(latents.dtype)

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


def _state_update(
    updates: list[tuple[AttentionState, Tensor]], item: int | slice, start: int, frames: int
) -> StateUpdate:
    """The state update of one item of a batch, or of all, from each layer's."""
    items = item if isinstance(item, slice) else slice(item, item + 1)
    sums, conv_states = zip(*updates, strict=True)
    S, z = (torch.stack([part[items] for part in parts]) for parts in zip(*sums, strict=True))
    conv_state = torch.stack([state[items] for state in conv_states])
    return StateUpdate(AttentionState(S, z), conv_state, start, frames)
