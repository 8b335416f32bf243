"""Copies from the host to a device that do not wait for it."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Move a tensor to a device; from the CPU to CUDA through pinned memory, without waiting.

    A plain copy waits until the device has finished all work queued before it.
    """
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
