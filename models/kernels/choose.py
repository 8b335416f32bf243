"""Choice between the fused kernels and the plain torch code, by device and dtype alone."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from shutil import which

import torch

logger = logging.getLogger(__name__)

VARIABLE = "SANA_STREAM_KERNELS"  # "off" runs the plain torch code
CAPABILITY = (8, 0)  # the first with bfloat16 and asynchronous copies
DTYPES = (torch.bfloat16, torch.float16)  # in float32 the plain code's exact products are kept
MODULES = ("linear_attention", "feedforward", "residual_norm", "fp8", "temporal_conv", "decoder")
MAX_HEAD_DIM = 128  # a head's sums must fit into the registers of one program


def choose_kernels(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether a transformer runs the fused kernels; registers them as torch operators if so.

    Args:
        device, dtype: of the weights.
        head_dim: width of one attention head.
    """
    return head_dim <= MAX_HEAD_DIM and choose_decoder_kernels(device, dtype)


def choose_decoder_kernels(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a decoder runs the fused kernels; as `choose_kernels`."""
    if device.type != "cuda" or dtype not in DTYPES:
        return False
    if os.environ.get(VARIABLE, "on").lower() in ("off", "0", "no", "false"):
        return False
    if torch.version.hip or torch.cuda.get_device_capability(device) < CAPABILITY:
        return False
    if find_spec("triton") is None:
        logger.warning("triton is missing, so the slower torch code runs; pip install triton")
        return False
    if sys.platform == "linux" and not (os.environ.get("CC") or which("gcc") or which("clang")):
        logger.warning(
            "triton needs a C compiler to load kernels, so the slower torch code runs; install gcc"
        )
        return False
    register_kernels()
    return True


def register_kernels() -> None:
    """Register the kernels as operators `torch.ops.sana_stream`; needs triton."""
    for name in MODULES:
        import_module(f"{__package__}.{name}")
