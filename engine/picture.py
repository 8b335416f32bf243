"""Pictures into the size of a stream, and into what the VAE takes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.errors import ConfigError


def cover(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale pictures until they cover a size, and cut what stands over, evenly on both sides.

    Args:
        frames: uint8 (T, H, W, 3).
        height, width: pixels wanted.

    Returns:
        uint8 (T, height, width, 3); the same array where it has that size already.

    Raises:
        ConfigError: not uint8, not RGB, or without a pixel.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ConfigError(
            f"pictures have shape {frames.shape} and dtype {frames.dtype}; give uint8 (T, H, W, 3)"
        )
    if frames.shape[1:3] == (height, width):
        return frames
    scale = max(height / frames.shape[1], width / frames.shape[2])
    size = [max(want, round(have * scale)) for want, have in
            zip((height, width), frames.shape[1:3], strict=True)]  # fmt: skip
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    out = np.empty((frames.shape[0], height, width, 3), np.uint8)
    for i, frame in enumerate(frames):  # one at a time: a clip in float32 would be large
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
        scaled = F.interpolate(picture, size, mode="bicubic", antialias=True).round().clamp(0, 255)
        cut = scaled[0, :, top : top + height, left : left + width]
        out[i] = cut.permute(1, 2, 0).to(torch.uint8).numpy()
    return out


def to_input(frames: np.ndarray, device: torch.device) -> Tensor:
    """Pictures uint8 (T, H, W, 3) as float32 (1, 3, T, H, W) in [-1, 1], for the VAE's encoder."""
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return pictures.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
