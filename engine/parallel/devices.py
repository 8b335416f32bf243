"""The device of each process of a stream, and the backend that connects them."""

from __future__ import annotations

import torch
import torch.distributed as dist

from sana_stream._arguments import shown
from sana_stream.engine.device import resolve_device
from sana_stream.errors import ConfigError

from .world import World


def device_of(given: str | torch.device, devices: int, world: World | None) -> torch.device:
    """The device of this process.

    Raises:
        ConfigError: more devices than the machine has, or a kind that cannot be used.
    """
    chosen = resolve_device(given)
    if chosen.type == "mps":
        raise ConfigError("a stream on several devices needs cuda or cpu, not mps: give devices=1")
    if chosen.type == "cpu":
        return chosen
    if chosen.index is not None:
        raise ConfigError(f'device {shown(str(chosen))} with devices={devices}: give device="cuda"')
    return cuda_device(devices, world)


def cuda_device(devices: int, world: World | None) -> torch.device:
    """The CUDA device of this process; each has one of its own.

    Raises:
        ConfigError: there are fewer devices, or NCCL is missing.
    """
    found = torch.cuda.device_count()
    local = 0 if world is None else world.local_rank
    if local >= found or (world is None and devices > found):
        wanted = devices if world is None else local + 1
        raise ConfigError(
            f"devices={wanted} is more than this machine has: {found} of CUDA;"
            f" give devices={found} or fewer"
        )
    if not dist.is_nccl_available():
        raise ConfigError("this torch has no NCCL, which several CUDA devices need: give devices=1")
    return torch.device("cuda", local)


def check_backend() -> None:
    """Check that torch.distributed can be used.

    Raises:
        ConfigError: it is missing in this torch, or in use by the caller.
    """
    if not dist.is_available():
        raise ConfigError("this torch has no torch.distributed: give devices=1")
    if dist.is_initialized():
        raise ConfigError(
            "torch.distributed is initialized already: load the engine before, or give devices=1"
        )
