"""Scaling of frames to a stream's size, and conversion to the VAE's input."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sana_stream.errors import ConfigError

LARGE = 16_000_000  # pixels; larger frames are reduced first, to limit the memory of floats


def cover(frames: np.ndarray, height: int, width: int, aspect: float = 1.0) -> np.ndarray:
    """Scale frames until they cover a size, and crop the excess evenly on both sides.

    Args:
        frames: uint8 (T, H, W, 3), of any strides.
        height, width: size of the result in pixels.
        aspect: width of an input pixel divided by its height.

    Returns:
        uint8 (T, height, width, 3); the same array if it has that size already.

    Raises:
        ConfigError: not uint8, not RGB, or without a pixel.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ConfigError(
            f"frames have shape {frames.shape} and dtype {frames.dtype}; give uint8 (T, H, W, 3)"
        )
    if frames.shape[1:3] == (height, width) and aspect == 1:
        return frames
    out = np.empty((frames.shape[0], height, width, 3), np.uint8)
    for i, frame in enumerate(frames):  # one at a time: a clip in float32 would be large
        out[i] = to_pixels(fit(_reduce(frame, height, width, aspect), height, width, aspect))
    return out


def fit(frame: np.ndarray, height: int, width: int, aspect: float = 1.0) -> Tensor:
    """Scale and crop a frame (H, W, 3) as `cover`: float32 (3, height, width), not rounded.

    The value range is unchanged; bicubic interpolation can exceed it a little.
    """
    size = _covering_size(frame, height, width, aspect)
    if size[0] * size[1] > 4 * LARGE:  # an extreme aspect: crop before scaling
        rows = ceil(height * frame.shape[0] / size[0]) + 8
        columns = ceil(width * frame.shape[1] / size[1]) + 8
        frame = _crop_center(frame, rows, columns)
        size = _covering_size(frame, height, width, aspect)
    values = np.ascontiguousarray(frame)
    if values.dtype == np.uint16:  # torch supports few operations of this dtype
        values = values.astype(np.float32)
    picture = torch.tensor(values).permute(2, 0, 1)[None].float()
    scaled = F.interpolate(picture, size, mode="bicubic", antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return scaled[0, :, top : top + height, left : left + width]


def to_pixels(picture: Tensor) -> np.ndarray:
    """Round float (3, H, W) in [0, 255] to uint8 (H, W, 3)."""
    return picture.round().clamp(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()


def to_input(frames: np.ndarray, device: torch.device) -> Tensor:
    """Convert frames uint8 (T, H, W, 3) to float32 (1, 3, T, H, W) in [-1, 1], for the VAE."""
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return tensor.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def _covering_size(frame: np.ndarray, height: int, width: int, aspect: float) -> tuple[int, int]:
    """Size that covers (height, width), equal to it in one direction."""
    frame_height, frame_width = frame.shape[0], frame.shape[1] * aspect
    scale = max(height / frame_height, width / frame_width)
    return max(height, round(frame_height * scale)), max(width, round(frame_width * scale))


def _reduce(frame: np.ndarray, height: int, width: int, aspect: float) -> np.ndarray:
    """Reduce a large frame by averaging, to at least four times the size of the result."""
    rows, columns = frame.shape[:2]
    size = _covering_size(frame, height, width, aspect)
    factor = min(rows // (4 * size[0]), columns // (4 * size[1]))
    if rows * columns <= LARGE or factor < 2:
        return frame
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).reduce(factor))


def _crop_center(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = max(0, frame.shape[0] - height) // 2, max(0, frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]
