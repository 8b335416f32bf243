"""Memory layouts of clips (B, C, T, H, W): convolutions are fastest with adjacent channels.

torch infers a layout from strides. Those of a clip of one frame are ambiguous, so that padding and
joining it may give the other layout. Here clips are therefore made in the layout of the weights
they are convolved with.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by rank


def set_channels_last(module: nn.Module) -> None:
    """Store the weights of convolutions with adjacent channels; MPS lacks this layout."""
    for parameter in module.parameters():
        if parameter.ndim in LAYOUTS and parameter.device.type != "mps":
            parameter.data = parameter.data.to(memory_format=LAYOUTS[parameter.ndim])


def has_channels_last(weight: Tensor) -> bool:
    """Whether a convolution's weight has adjacent channels."""
    return weight.stride(1) == 1


def empty_like_weight(x: Tensor, size: tuple[int, ...], weight: Tensor) -> Tensor:
    """An uninitialized clip in the layout of a weight.

    Args:
        x: of which dtype and device are taken.
        size: (B, C, T, H, W) of the clip.
        weight: of the convolution that the clip is made for.
    """
    batch, channels, *places = size
    if has_channels_last(weight):
        return x.new_empty((batch, *places, channels)).permute(0, 4, 1, 2, 3)
    return x.new_empty(size)


def empty_clip(x: Tensor, channels: int, frames: int, weight: Tensor) -> Tensor:
    """As `empty_like_weight`, with batch, rows and columns of `x`."""
    return empty_like_weight(x, (x.shape[0], channels, frames, *x.shape[3:]), weight)


def join_frames(before: Tensor | None, x: Tensor, count: int, weight: Tensor) -> Tensor:
    """Put frames before a clip, in the layout of a weight.

    Args:
        before: (B, C, count or 1, H, W), of which a single frame is repeated; `None` for zeros.
        x: (B, C, T, H, W).
        count: of frames before the clip.
        weight: of the convolution that the clip is made for.

    Returns:
        (B, C, count + T, H, W).
    """
    joined = empty_clip(x, x.shape[1], count + x.shape[2], weight)
    if before is None:
        joined[:, :, :count].zero_()
    else:
        joined[:, :, :count] = before
    joined[:, :, count:] = x
    return joined


def interleave_frames(parts: list[Tensor], weight: Tensor, first: Tensor | None = None) -> Tensor:
    """Alternate the frames of clips (B, C, T, H, W), in the layout of a weight.

    Args:
        parts: of equal shapes.
        weight: of the convolution that the clip is made for.
        first: (B, C, 1, H, W), put before all others.

    Returns:
        (B, C, T * len(parts), H, W), or with one frame more.
    """
    start = 0 if first is None else 1
    count = len(parts)
    frames = start + count * parts[0].shape[2]
    joined = empty_clip(parts[0], parts[0].shape[1], frames, weight)
    if first is not None:
        joined[:, :, :1] = first
    for number, part in enumerate(parts):
        joined[:, :, start + number :: count] = part
    return joined


def last_frames(x: Tensor, count: int) -> Tensor:
    """Copy the last frames in the layout of `x`, so that neither it nor its graph is kept alive.

    The strides do not depend on the length of `x`: compiled code is made for strides.
    """
    frames = x[:, :, -count:].detach()
    last = x.stride(1) == 1
    layout = torch.channels_last_3d if last else torch.contiguous_format
    return frames.clone(memory_format=layout)


def to_frames(x: Tensor) -> Tensor:
    """Reshape (B, C, T, H, W) to (B·T, C, H, W)."""
    # flattening axes of one element, or adding one before the channels, gives ambiguous strides
    if x.shape[0] == x.shape[2] == 1:
        return x[0, :, 0].permute(1, 2, 0).unsqueeze(0).permute(0, 3, 1, 2)
    if x.shape[0] == 1:
        return x[0].transpose(0, 1)
    return x.transpose(1, 2).flatten(0, 1)


def from_frames(frames: Tensor, batch: int) -> Tensor:
    """Reshape (B·T, C, H, W) to (B, C, T, H, W)."""
    if batch == 1:  # the new axis gets the stride of a whole clip
        return frames.permute(0, 2, 3, 1).unsqueeze(0).permute(0, 4, 1, 2, 3)
    return frames.unflatten(0, (batch, -1)).transpose(1, 2)


Stride = tuple[int, int, int]  # over frames, rows and columns


def fold_clip(x: Tensor, stride: Stride, weight: Tensor) -> Tensor:
    """Fold frames and pixels into channels, in the layout of a weight."""
    return _rearrange(x, "b c (t pt) (h ph) (w pw)", "(c pt ph pw)", "t h w", stride, weight)


def unfold_clip(x: Tensor, stride: Stride, weight: Tensor) -> Tensor:
    """Unfold channels to frames and pixels, in the layout of a weight."""
    return _rearrange(x, "b (c pt ph pw) t h w", "c", "(t pt) (h ph) (w pw)", stride, weight)


def _rearrange(
    x: Tensor, source: str, channels: str, places: str, stride: Stride, weight: Tensor
) -> Tensor:
    sizes = dict(zip(("pt", "ph", "pw"), stride, strict=True))
    if not has_channels_last(weight):
        return rearrange(x, f"{source} -> b {channels} {places}", **sizes)
    return rearrange(x, f"{source} -> b {places} {channels}", **sizes).permute(0, 4, 1, 2, 3)
