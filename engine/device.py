"""Choosing the device and the dtype that a model runs with."""

from __future__ import annotations

import torch

from sana_stream._arguments import shown
from sana_stream._text import safe_text

from ..models.errors import ConfigError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
SMALL_DEVICE = 24 << 30  # bytes


def resolve_device(device: str | torch.device) -> torch.device:
    """The device asked for; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigError: an unknown device, or one that this machine does not have.
    """
    if not isinstance(device, str | torch.device):
        raise ConfigError(f"device {shown(device)} is not known; use auto, cpu, cuda or mps")
    if device == "auto":
        return torch.device(_best())
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"device {shown(device)} is not known; use auto, cpu, cuda or mps"
        ) from error
    if isinstance(device, str) and chosen.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device {shown(device)} is not known; use auto, cpu, cuda or mps")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available here; use --device cpu (or auto)")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {chosen} does not exist; there are {torch.cuda.device_count()} CUDA devices"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("no MPS device is available here; use --device cpu (or auto)")
    return chosen


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype asked for; `auto` takes bfloat16 where the device multiplies it natively.

    Raises:
        ConfigError: not one of bfloat16, float16, float32.
    """
    if not isinstance(dtype, str | torch.dtype):
        raise ConfigError(f"dtype {shown(dtype)} is not known; use auto, {', '.join(DTYPES)}")
    if dtype == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise ConfigError(f"dtype {safe_text(dtype)} is not known; use auto, {', '.join(DTYPES)}")
    return chosen


def resting_device(device: torch.device, offload: bool | None) -> torch.device | None:
    """Where a network that is needed now and then stays in between; `None`: where it works."""
    if offload is None:
        offload = device.type == "cuda" and (
            torch.cuda.get_device_properties(device).total_memory <= SMALL_DEVICE
        )
    return torch.device("cpu") if offload and device.type != "cpu" else None


def one_thread_alone(device: torch.device) -> bool:
    """Whether a second thread must not use the device at the same time.

    torch's Metal queue breaks off the process then (pytorch issue 197805).
    """
    return device.type == "mps"


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type == "cpu":
        # without such instructions bfloat16 is emulated and slower
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False
