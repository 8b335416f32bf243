"""A frame of any kind of video as RGB: its matrix, range, transparency and HDR."""

from __future__ import annotations

import numpy as np
import torch
from av.error import FFmpegError
from av.video.frame import VideoFrame
from torch import Tensor

from ..models.errors import ConfigError

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
BT709, UNSPECIFIED, BT2020 = 1, 2, 9  # matrices and primaries of H.273
BT2020_CONSTANT = 10
WHITE = 203.0  # cd/m2 of HDR reference white (ITU-R BT.2408), which becomes almost SDR's white
PEAK = 1000.0  # cd/m2 that become white; what is brighter is clipped
KNEE = 0.8  # of SDR's white in linear light: what is darker stays as it is
TO_BT709 = (  # linear BT.2020 to BT.709 (ITU-R BT.2087)
    (1.6605, -0.5876, -0.0728),
    (-0.1246, 1.1329, -0.0083),
    (-0.0182, -0.1006, 1.1187),
)


def is_hdr(frame: VideoFrame) -> bool:
    """Whether its values are those of PQ or HLG."""
    return int(frame.color_trc) in (PQ, HLG)


def is_transparent(frame: VideoFrame) -> bool:
    """Whether parts of it are transparent."""
    return has_alpha(frame) and bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)


def has_alpha(frame: VideoFrame) -> bool:
    """Whether parts of it can be transparent."""
    return any(component.is_alpha for component in frame.format.components)


def to_rgb(frame: VideoFrame) -> np.ndarray:
    """Pixels (H, W, 3), as they are stored: uint8, or uint16 where the frame is HDR.

    Transparent parts are shown on white. Without a matrix in the file, it is BT.709 for HD and
    BT.601 for less, as players have it.

    Raises:
        ConfigError: colours that cannot be converted.
    """
    if int(frame.colorspace) == UNSPECIFIED and (frame.height > 576 or frame.width >= 1280):
        frame.colorspace = BT709
    if int(frame.colorspace) == BT2020_CONSTANT:
        frame.colorspace = BT2020
    try:
        if is_hdr(frame):
            return frame.to_ndarray(format="rgb48le")
        if has_alpha(frame):
            return _on_white(frame.to_ndarray(format="rgba"))
        return frame.to_ndarray(format="rgb24")
    except (FFmpegError, OSError, ValueError, MemoryError) as error:
        raise ConfigError(
            f"the clip's colours ({frame.format.name}, matrix {int(frame.colorspace)}) cannot be"
            " converted: make it an ordinary MP4"
        ) from error


def tone_mapped(signal: Tensor, transfer: int, primaries: int = BT2020) -> Tensor:
    """HDR pixels (..., 3, H, W) in [0, 1] as sRGB in [0, 1].

    PQ is SMPTE ST 2084, HLG is ITU-R BT.2100 on a display of 1000 cd/m2. Linear light is taken by
    `WHITE`; up to `KNEE` it stays, from there up to `PEAK` it is compressed, by the brightest of
    the three so that hues stay.
    """
    light = (_pq(signal) if transfer == PQ else _hlg(signal)) / WHITE
    if primaries in (BT2020, UNSPECIFIED):
        light = torch.einsum("ij,...jhw->...ihw", torch.tensor(TO_BT709), light)
    light = light.clamp(min=0)
    brightest = light.amax(dim=-3, keepdim=True).clamp(min=1e-6)
    light = light * (_compressed(brightest) / brightest)
    low = light * 12.92
    return torch.where(light <= 0.0031308, low, 1.055 * light.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


def _compressed(x: Tensor) -> Tensor:
    """Linear up to the knee, then a curve whose slope begins at 1 and that meets 1 at the peak."""
    over = ((x - KNEE) / (PEAK / WHITE - KNEE)).clamp(0, 1)
    steep = (PEAK / WHITE - KNEE) / (1 - KNEE)
    return torch.where(x <= KNEE, x, KNEE + (1 - KNEE) * steep * over / (1 + (steep - 1) * over))


def _pq(signal: Tensor) -> Tensor:
    """cd/m2 of PQ values."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal.clamp(0, 1) ** (1 / m2)
    return 10000 * ((root - c1).clamp(min=0) / (c2 - c3 * root)) ** (1 / m1)


def _hlg(signal: Tensor) -> Tensor:
    """cd/m2 of HLG values on a display of 1000 cd/m2, whose system gamma is 1.2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = signal.clamp(0, 1)
    scene = torch.where(signal <= 0.5, signal**2 / 3, (((signal - c) / a).exp() + b) / 12)
    weights = torch.tensor((0.2627, 0.6780, 0.0593)).view(3, 1, 1)
    luminance = (scene * weights).sum(dim=-3, keepdim=True)
    return 1000 * scene * luminance.clamp(min=1e-6) ** 0.2


def _on_white(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
