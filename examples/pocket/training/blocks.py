"""Teacher forcing: blocks of a clip in one pass, equal to the stateful roll-out.

Clean and noisy latent frames are concatenated as rows. A noisy block sees itself, and of the
earlier blocks what the memory policy keeps of the *clean* ones; a clean block does the same.
Attention sums are computed per row, so that visibility is one matrix over rows.

Shapes: B clips, F rows (latent frames, clean ones first), N noisy rows, P tokens per frame,
H heads, d head width, D = H*d.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from sana_stream.models.attention import DENOMINATOR_EPS, AttentionState
from sana_stream.models.memory_policy import BlockMemory, MemoryPolicy, StateUpdate
from sana_stream.models.rope import RotaryEmbedding, apply_rotary_emb
from sana_stream.models.transformer import OUTPUT_NORM_EPS, SanaVideoTransformer
from sana_stream.models.transformer_block import TransformerBlock, modulate

# two halves of a layer; compilers handle the convolution between them badly
Compiled = tuple[Callable[..., tuple[Tensor, Tensor, Tensor]], Callable[..., Tensor]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows of a pass, and what each of them sees.

    Clean frames of every block before the last requested one come first. They are followed by the
    noisy frames of the requested blocks, stream by stream.
    """

    time: Tensor  # int64 (F,): latent frame of the clip
    block: Tensor  # int64 (F,): block of the clip
    clean: int  # number of clean rows
    unit: Tensor  # int64 (N,): index of each noisy row's block, counted over all streams
    sees: Tensor  # (F, F): weight with which a row sees another row's sums
    before: Tensor  # (F, F): 1 where the other row is the previous frame
    after: Tensor  # (F, F): 1 where the other row is the next frame, in the same block

    @classmethod
    def of(
        cls, frames: Sequence[int], policy: MemoryPolicy, requested: range, streams: int = 1
    ) -> Layout:
        """Lay out `streams` noisy copies of the `requested` blocks.

        `frames` is the number of latent frames of each block.
        """
        lengths = torch.tensor(frames)
        block_of = torch.repeat_interleave(torch.arange(len(frames)), lengths)
        clean = int(lengths[: requested.stop - 1].sum())
        noisy = ((block_of >= requested.start) & (block_of < requested.stop)).nonzero().flatten()
        time = torch.cat((torch.arange(clean), noisy.repeat(streams)))
        stream = torch.repeat_interleave(
            torch.arange(1 + streams), torch.tensor([clean] + streams * [len(noisy)])
        )
        block = block_of[time]
        own = (block[:, None] == block) & (stream[:, None] == stream)
        earlier = (block[:, None] > block) & (stream == 0)
        step = time[:, None] - time
        kept = kept_weights(len(frames), policy)[block][:, block]
        return cls(
            time=time,
            block=block,
            clean=clean,
            unit=((stream - 1) * len(requested) + block - requested.start)[clean:],
            sees=own.float() + kept * earlier,
            before=((step == 1) & (own | earlier)).float(),
            after=((step == -1) & own).float(),
        )

    @property
    def noisy(self) -> Tensor:
        """Latent frames of the noisy rows, int64 (N,)."""
        return self.time[self.clean :]

    @property
    def units(self) -> int:
        """Number of noisy blocks in all streams."""
        return int(self.unit[-1]) + 1

    def to(self, device: torch.device | str) -> Layout:
        """Move the layout to a device."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return replace(self, **{k: v.to(device) for k, v in values.items() if k != "clean"})


def kept_weights(blocks: int, policy: MemoryPolicy) -> Tensor:
    """Weights (blocks, blocks) with which block k sees block j, from the engine's own memory."""
    unit = torch.eye(blocks)
    memory = BlockMemory.empty(policy, AttentionState(torch.zeros(blocks), torch.zeros(blocks)))
    rows = []
    for k in range(blocks):
        rows.append(memory.view().z)
        memory = memory.add(StateUpdate(AttentionState(unit[k], unit[k]), unit[k], k, 1))
    return torch.stack(rows)


@dataclass(frozen=True, slots=True)
class RowCaptions:
    """Encoded captions, and the caption of each row."""

    embeds: Tensor  # (captions, L, C)
    mask: Tensor  # (captions, L)
    which: Tensor  # int64 (B, F)


def velocities(
    model: SanaVideoTransformer,
    past: Tensor,
    noisy: Tensor,
    timesteps: Tensor,
    words: RowCaptions,
    layout: Layout,
    compiled: Compiled | None = None,
) -> Tensor:
    """Predict the velocity of every noisy row.

    Args:
        past: (B, C, T, h, w), latents used for the earlier blocks; the first `layout.clean` frames
            are used.
        noisy: (B, C, N, h, w).
        timesteps: 0 to 1000, (B, N).
        words: captions of the rows.
        layout: rows.
        compiled: the two halves of a layer, compiled.

    Returns:
        (B, C, N, h, w), in the dtype of the weights.
    """
    before, after = compiled or (before_convolution, after_convolution)
    grid = model.grid(noisy.shape[-2], noisy.shape[-1])
    rotation = _rotation(model, noisy, layout)
    rows = torch.cat((past[:, :, : layout.clean], noisy), dim=2)
    x = model.embed_patches(rows)
    modulation, embedded = model.time_embed(F.pad(timesteps, (layout.clean, 0)))
    text = model.prepare_text(words.embeds, words.mask, keep_padding=True)  # compiled once
    assert text.bias is not None
    which = words.which.flatten()
    bias = text.bias[which]
    for i, layer in enumerate(model.layers):
        keys, values = text.keys[i][which], text.values[i][which]
        x, image, gate = before(layer, x, modulation, rotation, (keys, values, bias), layout, grid)
        x = after(layer, x, layer.ff.conv_depth(image), gate, layout)
    table = (model.scale_shift_table + embedded[:, layout.clean :].unsqueeze(2)).unsqueeze(3)
    shift, scale = table.unbind(2)
    x = model.proj_out(modulate(x[:, layout.clean :], shift, scale, OUTPUT_NORM_EPS))
    return rearrange(
        x,
        "b n (h w) (p q c) -> b c n (h p) (w q)",
        h=grid[0],
        p=model.config.patch_size[1],
        q=model.config.patch_size[2],
    )


def before_convolution(
    layer: TransformerBlock,
    x: Tensor,
    modulation: Tensor,
    rotation: RotaryEmbedding,
    text: tuple[Tensor, Tensor, Tensor],
    layout: Layout,
    grid: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer on all rows up to its depthwise convolution; `text` is per row.

    Returns tokens (B, F, P, D), the images (n, C, h, w) to convolve, and the last gate.
    """
    tables = (layer.scale_shift_table + modulation).unsqueeze(2).unbind(3)  # 6 x (B, F, 1, D)
    shift, scale, gate, ff_shift, ff_scale, ff_gate = tables
    x = x + gate * _attend(layer, modulate(x, shift, scale, layer.eps), rotation, layout)
    x = x + _cross_attend(layer, x, text)
    mixed = modulate(x, ff_shift, ff_scale, layer.eps).flatten(0, 1)
    return x, layer.ff.expand(mixed, *grid), ff_gate


def after_convolution(
    layer: TransformerBlock, x: Tensor, image: Tensor, gate: Tensor, layout: Layout
) -> Tensor:
    """Run the rest of the layer: gate, projection and temporal convolution of `image`, plus x."""
    mixed = layer.ff.project(image).view_as(x)
    return x + gate * _temporal_conv(layer.ff.conv_temp.weight, mixed, layout)


def _rotation(model: SanaVideoTransformer, noisy: Tensor, layout: Layout) -> RotaryEmbedding:
    """Rotary embedding of all rows' tokens."""
    longest = noisy[:1, :1, :1].expand(-1, -1, int(layout.time.max()) + 1, -1, -1)
    cos, sin = (
        rearrange(part, "1 (t p) 1 d -> t p d", t=longest.shape[2])[layout.time]
        .flatten(0, 1)[None, :, None]
        .contiguous()
        for part in model.rotation(longest, 0)
    )
    return RotaryEmbedding(cos, sin)


def _attend(
    layer: TransformerBlock, x: Tensor, rotation: RotaryEmbedding, layout: Layout
) -> Tensor:
    clips, rows, tokens, _ = x.shape
    query, key, value = layer.attn1.features(x.view(clips, rows * tokens, -1))
    by_row = "b (f p) h d -> b f h p d"
    turned_query = rearrange(apply_rotary_emb(query, rotation), by_row, f=rows)
    turned_key = rearrange(apply_rotary_emb(key, rotation), by_row, f=rows)
    query, value = rearrange(query, by_row, f=rows), rearrange(value, by_row, f=rows)
    z = rearrange(key, by_row, f=rows).float().sum(dim=3)  # (B, F, H, d)
    S = (value.mT @ turned_key).float()  # (B, F, H, d, d)
    S, z = _over_rows(layout.sees, S), _over_rows(layout.sees, z)
    numerator = turned_query @ S.to(x.dtype).mT  # (B, F, H, P, d)
    denominator = query @ z.to(x.dtype).unsqueeze(-1)
    output = numerator / (denominator + DENOMINATOR_EPS)
    return layer.attn1.to_out[0](rearrange(output, "b f h p d -> b f p (h d)"))


def _cross_attend(
    layer: TransformerBlock, x: Tensor, text: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Cross attention as plain products, which train fastest for few text tokens."""
    keys, values, bias = text  # (B*F, H, L, d), the same, (B*F, 1, 1, L)
    attention = layer.attn2
    query = attention.norm_q(attention.to_q(x))
    query = rearrange(query, "b f p (h d) -> (b f) h p d", h=attention.heads)
    scores = query @ keys.mT * keys.shape[-1] ** -0.5 + bias
    output = scores.float().softmax(-1).to(x.dtype) @ values
    output = rearrange(output, "n h p d -> n p (h d)").view_as(x)
    return attention.to_out[0](output)


def _temporal_conv(weight: Tensor, x: Tensor, layout: Layout) -> Tensor:
    left, right = _over_rows(layout.before, x), _over_rows(layout.after, x)
    before, here, after = weight.squeeze(-1).unbind(-1)
    return x + F.linear(left, before) + F.linear(x, here) + F.linear(right, after)


def _over_rows(matrix: Tensor, x: Tensor) -> Tensor:
    """Mix rows x (B, F, ...) by a matrix (F, F)."""
    return (matrix.to(x.dtype) @ x.flatten(2)).view_as(x)
