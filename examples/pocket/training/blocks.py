"""Teacher forcing: every block of a clip in one pass, equal to the stateful roll-out.

A clean stream and R noisy streams run side by side. A block sees itself, and of the earlier
blocks what the memory policy keeps of the *clean* stream; so do the clean stream's own blocks.
Sums are kept per latent frame, so that "itself" and "what is kept" are two matrices over frames.

Letters: R noisy streams, S = 1 + R, B clips, T latent frames, P tokens a frame, H heads,
d head width, D = H*d.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from sana_stream.models.attention import DENOMINATOR_EPS, Sums
from sana_stream.models.memory import Memory, MemoryPolicy
from sana_stream.models.past import Contribution
from sana_stream.models.rope import Rotation, rotate
from sana_stream.models.transformer import (
    MASKED,
    OUTPUT_NORM_EPS,
    Layer,
    SanaVideoTransformer,
    modulate,
)

# a layer's two halves; compiled apart, as a compiler does worse by the convolution between them
Compiled = tuple[Callable[..., tuple[Tensor, Tensor, Tensor]], Callable[..., Tensor]]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a clip's latent frames fall into blocks, and what each of them sees."""

    block_of: Tensor  # int64 (T,)
    own: Tensor  # (T, T): 1 where two frames are of one block
    past: Tensor  # (T, T): how much of a frame of the clean stream is kept
    starts: Tensor  # int64: first frames of all blocks but the first
    middle: Tensor  # (T, 1, 1): 1 where the next frame is of the same block

    @classmethod
    def of(cls, frames: Sequence[int], policy: MemoryPolicy) -> Layout:
        """The layout of blocks of so many latent frames each."""
        lengths = torch.tensor(frames)
        block_of = torch.repeat_interleave(torch.arange(len(frames)), lengths)
        kept = kept_weights(len(frames), policy)
        same = (block_of[:, None] == block_of[None]).float()
        last = torch.cat((block_of[1:] != block_of[:-1], torch.ones(1, dtype=torch.bool)))
        return cls(
            block_of=block_of,
            own=same,
            past=kept[block_of][:, block_of],
            starts=lengths.cumsum(0)[:-1],
            middle=(~last).float()[:, None, None],
        )

    def to(self, device: torch.device | str) -> Layout:
        """The same on a device."""
        return Layout(*(getattr(self, name).to(device) for name in self.__slots__))


def kept_weights(blocks: int, policy: MemoryPolicy) -> Tensor:
    """How much block k sees of block j, (blocks, blocks): read off the engine's own memory."""
    unit = torch.eye(blocks)
    memory = Memory.empty(policy, Sums(torch.zeros(blocks), torch.zeros(blocks)))
    rows = []
    for k in range(blocks):
        rows.append(memory.view().z)
        memory = memory.add(Contribution(Sums(unit[k], unit[k]), unit[k], k, 1))
    return torch.stack(rows)


@dataclass(frozen=True, slots=True)
class Words:
    """Captions as encoded, and which caption each frame of each stream obeys."""

    embeds: Tensor  # (captions, L, C)
    mask: Tensor  # (captions, L)
    which: Tensor  # int64 (S, B, T)


def velocities(
    model: SanaVideoTransformer,
    clean: Tensor | None,
    noisy: Tensor,
    timesteps: Tensor,
    words: Words,
    layout: Layout,
    compiled: Compiled | None = None,
) -> Tensor:
    """The velocity of every noisy block.

    Args:
        clean: (B, C, T, h, w), what the earlier blocks are taken to have been; None for a layout
            of one block, which has no earlier ones: then all streams are noisy.
        noisy: (R, B, C, T, h, w).
        timesteps: 0 to 1000, (R, B, T).
        words: captions.
        layout: blocks.
        compiled: the two halves of a layer, compiled.

    Returns:
        (R, B, C, T, h, w), in the dtype of the weights.
    """
    before, after = compiled or (before_convolution, after_convolution)
    first = 0 if clean is None else 1
    streams = noisy if clean is None else torch.cat((clean[None], noisy))
    grid = model.grid(noisy.shape[-2], noisy.shape[-1])
    rotation = model.rotation(noisy[0], 0)
    dtype = model.proj_out.weight.dtype
    x = model.patch_embedding(streams.flatten(0, 1).to(dtype))
    x = rearrange(x, "(s b) d t h w -> s b t (h w) d", b=noisy.shape[1])
    times = torch.cat((torch.zeros_like(timesteps[:first]), timesteps))
    modulation, embedded = model.time_embed(times.flatten(0, 1))
    modulation = modulation.unflatten(0, times.shape[:2])
    text = model.prepare_text(words.embeds, words.mask)
    which, short = words.which.flatten(), words.mask.shape[1] - text.bias.shape[-1]
    bias = F.pad(text.bias[which], (0, short), value=MASKED)  # one shape: compiled once
    for i, layer in enumerate(model.layers):
        pair = text.keys[i], text.values[i]
        keys, values = (F.pad(part[which], (0, 0, 0, short)) for part in pair)
        x, image, gate = before(layer, x, modulation, rotation, (keys, values, bias), layout, grid)
        x = after(layer, x, layer.ff.conv_depth(image), gate, layout)
    embedded = embedded.unflatten(0, times.shape[:2])[first:]
    shift, scale = (model.scale_shift_table + embedded.unsqueeze(3)).unsqueeze(4).unbind(3)
    x = model.proj_out(modulate(x[first:], shift, scale, OUTPUT_NORM_EPS))
    return rearrange(
        x,
        "r b t (h w) (p q c) -> r b c t (h p) (w q)",
        h=grid[0],
        p=model.config.patch_size[1],
        q=model.config.patch_size[2],
    )


def before_convolution(
    layer: Layer,
    x: Tensor,
    modulation: Tensor,
    rotation: Rotation,
    text: tuple[Tensor, Tensor, Tensor],
    layout: Layout,
    grid: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """A layer on all streams up to its depthwise convolution; `text` is per frame.

    Returns tokens (S, B, T, P, D), the images (n, C, h, w) to convolve, and the last gate.
    """
    tables = (layer.scale_shift_table + modulation).unsqueeze(3).unbind(4)  # 6 x (S, B, T, 1, D)
    shift, scale, gate, ff_shift, ff_scale, ff_gate = tables
    x = x + gate * _attend(layer, modulate(x, shift, scale, layer.eps), rotation, layout)
    x = x + _read_text(layer, x, text)
    mixed = modulate(x, ff_shift, ff_scale, layer.eps).flatten(0, 2)
    return x, layer.ff.widen(mixed, *grid), ff_gate


def after_convolution(
    layer: Layer, x: Tensor, image: Tensor, gate: Tensor, layout: Layout
) -> Tensor:
    """The rest of the layer: what the convolution made, gated and mixed over time, added to x."""
    mixed = layer.ff.narrow(image).view_as(x)
    return x + gate * _mix_time(layer.ff.conv_temp.weight, mixed, layout)


def _attend(layer: Layer, x: Tensor, rotation: Rotation, layout: Layout) -> Tensor:
    streams, clips, frames, tokens, _ = x.shape
    query, key, value = layer.attn1.features(x.view(streams * clips, frames * tokens, -1))
    split = {"s": streams, "t": frames}
    by_frame = "(s b) (t p) h d -> s b t h p d"
    turned_query = rearrange(rotate(query, rotation), by_frame, **split)
    turned_key = rearrange(rotate(key, rotation), by_frame, **split)
    query, value = rearrange(query, by_frame, **split), rearrange(value, by_frame, **split)
    z = rearrange(key, by_frame, **split).float().sum(dim=4)  # (S, B, T, H, d)
    S = (value.mT @ turned_key).float()  # (S, B, T, H, d, d)
    S, z = _seen(S, layout), _seen(z, layout)
    numerator = turned_query @ S.to(x.dtype).mT  # (S, B, T, H, P, d)
    denominator = query @ z.to(x.dtype).unsqueeze(-1)
    output = numerator / (denominator + DENOMINATOR_EPS)
    output = rearrange(output, "s b t h p d -> s b t p (h d)")
    return layer.attn1.to_out[0](output)


def _read_text(layer: Layer, x: Tensor, text: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The layer's cross attention written out: few words, so plain products train fastest."""
    keys, values, bias = text  # (S*B*T, H, L, d), the same, (S*B*T, 1, 1, L)
    attention = layer.attn2
    query = attention.norm_q(attention.to_q(x))
    query = rearrange(query, "s b t p (h d) -> (s b t) h p d", h=attention.heads)
    scores = query @ keys.mT * keys.shape[-1] ** -0.5 + bias
    output = scores.float().softmax(-1).to(x.dtype) @ values
    output = rearrange(output, "n h p d -> n p (h d)").view_as(x)
    return attention.to_out[0](output)


def _seen(sums: Tensor, layout: Layout) -> Tensor:
    """Sums of frames (S, B, T, ...) to what each frame sees: its block, and the kept clean past."""
    flat = sums.flatten(3)
    return (layout.own @ flat + layout.past @ flat[:1]).view_as(sums)


def _mix_time(weight: Tensor, x: Tensor, layout: Layout) -> Tensor:
    left = F.pad(x[:, :, :-1], (0, 0, 0, 0, 1, 0))
    edges = x[:1, :, layout.starts - 1].expand(x.shape[0], -1, -1, -1, -1)
    left = left.index_copy(2, layout.starts, edges)
    right = F.pad(x[:, :, 1:], (0, 0, 0, 0, 0, 1)) * layout.middle.to(x.dtype)
    before, here, after = weight.squeeze(-1).unbind(-1)
    return x + F.linear(left, before) + F.linear(x, here) + F.linear(right, after)
