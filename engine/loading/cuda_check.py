"""Checks of torch and cuDNN on a CUDA device: some versions are slow or compute wrongly."""

from __future__ import annotations

import logging
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from sana_stream.errors import ConfigError
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.registry import VideoDecoderConfig

WANTED_TORCH = (2, 10)
SUSPECT_CUDNN = range(90800, 91300)  # pytorch issue 163539
TOLERANCE = 0.02  # relative, for the rounding of bfloat16 and float16

logger = logging.getLogger(__name__)


def warn_of_old_torch() -> None:
    """Log a warning if torch is older than what a CUDA device needs to be fast."""
    version = torch.__version__.split("+")[0]
    if _numbers(version) < WANTED_TORCH:
        logger.warning(
            "torch %s on CUDA: some of its normalisations and convolutions are several times"
            " slower; install torch 2.10 or newer",
            version,
        )


def needs_comparison(config: VideoDecoderConfig, dtype: torch.dtype) -> TypeGuard[WanVAEConfig]:
    """Whether this cuDNN may compute a decoder's convolutions wrongly in its dtype."""
    suspect = (torch.backends.cudnn.version() or 0) in SUSPECT_CUDNN
    return suspect and isinstance(config, WanVAEConfig) and dtype != torch.float32


def check_convolution(
    channels: int, frames: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> None:
    """Compare single frames of a 3x3x3 convolution with float32.

    Args:
        channels: in and out.
        frames, height, width: of the output.
        dtype: of input and weights.

    Raises:
        ConfigError: they differ by more than rounding.
    """
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        return drawn.to(memory_format=torch.channels_last_3d)

    weight = random(channels, channels, 3, 3, 3)
    x = random(1, channels, frames + 2, height, width)
    result = F.conv3d(x, weight, padding=(0, 1, 1))
    for frame in {0, frames // 2, frames - 1}:
        seen = x[:, :, frame : frame + 3].float()
        exact = F.conv3d(seen, weight.float(), padding=(0, 1, 1))
        error = (result[:, :, frame : frame + 1].float() - exact).norm() / exact.norm()
        if not error.item() <= TOLERANCE:
            cudnn = torch.backends.cudnn.version()
            raise ConfigError(
                f"cuDNN {cudnn} computes a convolution of {frames} frames of {width}x{height}"
                " wrongly on this device; install torch 2.10 or newer, or decode fewer frames at"
                " once with decode_frames"
            )


def _numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    digits = ("".join(filter(str.isdigit, part)) for part in version.split(".")[:2])
    return tuple(int(number or 0) for number in digits)
