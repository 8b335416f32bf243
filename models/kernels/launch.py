"""Launching of kernels: grids, block sizes and the device."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor


def launch(x: Tensor, kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Launch a kernel on the device of a tensor: Triton launches on the current one.

    Args:
        x: a tensor of the device; on the CPU, Triton interprets.
        kernel: a function of `triton.jit`.
        grid: number of programs along each axis.
        args: of the kernel.
        options: its constants, and `num_warps`.
    """
    with torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext():
        kernel[grid](*args, **options)


def is_hopper(x: Tensor) -> bool:
    """Whether a tensor is on a GPU of the Hopper generation."""
    return x.device.type == "cuda" and torch.cuda.get_device_capability(x.device)[0] == 9


def power_of_two(size: int, least: int = 16) -> int:
    """The smallest power of two from `least` on that is not below a size."""
    return max(least, 1 << (size - 1).bit_length())


def rows_of(x: Tensor) -> Tensor:
    """The tensor with adjacent elements along its last axis, copied only if they are not."""
    return x if x.stride(-1) == 1 else x.contiguous()
