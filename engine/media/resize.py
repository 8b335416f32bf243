"""Pictures into the size of a stream, and into what the VAE takes."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sana_stream.errors import ConfigError

LARGE = 16_000_000  # pixels; larger pictures are averaged down first, as floats they would be huge


def cover(frames: np.ndarray, height: int, width: int, aspect: float = 1.0) -> np.ndarray:
    """Scale pictures until they cover a size, and cut what stands over, evenly on both sides.

    Args:
        frames: uint8 (T, H, W, 3), of any strides.
        height, width: pixels wanted.
        aspect: width of a given pixel by its height.

    Returns:
        uint8 (T, height, width, 3); the same array where it has that size already.

    Raises:
        ConfigError: not uint8, not RGB, or without a pixel.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ConfigError(
            f"pictures have shape {frames.shape} and dtype {frames.dtype}; give uint8 (T, H, W, 3)"
        )
    if frames.shape[1:3] == (height, width) and aspect == 1:
        return frames
    out = np.empty((frames.shape[0], height, width, 3), np.uint8)
    for i, frame in enumerate(frames):  # one at a time: a clip in float32 would be large
        out[i] = to_pixels(fit(_smaller(frame, height, width, aspect), height, width, aspect))
    return out


def fit(frame: np.ndarray, height: int, width: int, aspect: float = 1.0) -> Tensor:
    """A picture (H, W, 3) as `cover` scales and cuts it, float32 (3, height, width), not rounded.

    Values keep their scale, and may lie a little beyond those given.
    """
    size = _covering(frame, height, width, aspect)
    if size[0] * size[1] > 4 * LARGE:  # a line: only what is kept of it can be scaled
        rows = ceil(height * frame.shape[0] / size[0]) + 8
        columns = ceil(width * frame.shape[1] / size[1]) + 8
        frame = _middle(frame, rows, columns)
        size = _covering(frame, height, width, aspect)
    values = np.ascontiguousarray(frame)
    if values.dtype == np.uint16:  # not every operation of torch has it
        values = values.astype(np.float32)
    picture = torch.tensor(values).permute(2, 0, 1)[None].float()
    scaled = F.interpolate(picture, size, mode="bicubic", antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return scaled[0, :, top : top + height, left : left + width]


def to_pixels(picture: Tensor) -> np.ndarray:
    """Float (3, H, W) in [0, 255] as uint8 (H, W, 3)."""
    return picture.round().clamp(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()


def to_input(frames: np.ndarray, device: torch.device) -> Tensor:
    """Pictures uint8 (T, H, W, 3) as float32 (1, 3, T, H, W) in [-1, 1], for the VAE's encoder."""
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return pictures.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def _covering(frame: np.ndarray, height: int, width: int, aspect: float) -> tuple[int, int]:
    """The size that covers (height, width), in one direction exactly."""
    have_height, have_width = frame.shape[0], frame.shape[1] * aspect
    scale = max(height / have_height, width / have_width)
    return max(height, round(have_height * scale)), max(width, round(have_width * scale))


def _smaller(frame: np.ndarray, height: int, width: int, aspect: float) -> np.ndarray:
    """A large picture averaged down to no less than four times what is wanted."""
    have = frame.shape[:2]
    size = _covering(frame, height, width, aspect)
    factor = min(have[0] // (4 * size[0]), have[1] // (4 * size[1]))
    if have[0] * have[1] <= LARGE or factor < 2:
        return frame
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).reduce(factor))


def _middle(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = max(0, frame.shape[0] - height) // 2, max(0, frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]
