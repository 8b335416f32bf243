"""Checks that a stream can fit the memory of the machine, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from sana_stream.errors import ConfigError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import MemoryPolicy, parse_memory_policy
from sana_stream.models.state import stream_state_bytes
from sana_stream.models.vae.ltx2_config import LTX2VAEConfig
from sana_stream.models.vae.registry import VideoDecoderConfig

from .memory_estimate import decode_bytes, denoise_bytes

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, on Linux
_HARMLESS = 1 / 20  # of the machine's memory; below it a rough estimate is enough
_FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True)
class StreamSizes:
    """The settings that a stream's memory depends on."""

    height: int  # pixels
    width: int
    block_frames: int  # latent frames
    memory: str
    guided: bool = False  # guidance needs a second state


def check_sizes(
    sizes: StreamSizes,
    transformer: TransformerConfig,
    decoder: VideoDecoderConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Check that a stream can fit the memory of the machine, by its shapes alone.

    Neither weights nor the memory of other programs are counted: what is refused here never fits.

    Raises:
        ConfigError: gives the memory needed and which settings lower it.
    """
    has = total_bytes(device)
    needs = _lower_bound(sizes, transformer, decoder, dtype)
    if needs < has * _HARMLESS:
        return
    if needs <= has:
        needs = max(needs, _counted(sizes, transformer, decoder, dtype))
    if needs > has:
        raise ConfigError(
            f"size {sizes.width}x{sizes.height} with block_frames {sizes.block_frames} and memory"
            f" {sizes.memory} needs {_gibibytes(needs)} or more, and this machine has"
            f" {_gibibytes(has)}: give a smaller size, fewer block_frames or a shorter memory"
        )


def total_bytes(device: torch.device) -> int:
    """The total memory in bytes that a device has for this process."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    total = psutil.virtual_memory().total
    try:
        return min(total, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without limit
        return total


def _lower_bound(
    sizes: StreamSizes,
    transformer: TransformerConfig,
    decoder: VideoDecoderConfig,
    dtype: torch.dtype,
) -> int:
    """A lower bound of the bytes needed at one time, by arithmetic alone."""
    pixels = sizes.height * sizes.width
    frames = pixels * 3 * (1 + sizes.block_frames * decoder.temporal_factor)
    decoded = pixels * 3 * decoder.temporal_factor * dtype.itemsize
    return _states(sizes, transformer, decoder, dtype) + frames + decoded


def _states(
    sizes: StreamSizes,
    transformer: TransformerConfig,
    decoder: VideoDecoderConfig,
    dtype: torch.dtype,
) -> int:
    _, down, across = transformer.patch_size
    factor = decoder.spatial_factor
    grid = sizes.height // factor // down, sizes.width // factor // across
    policy: MemoryPolicy = parse_memory_policy(sizes.memory)
    return stream_state_bytes(transformer, policy, grid, dtype.itemsize) * (1 + sizes.guided)


def _counted(
    sizes: StreamSizes,
    transformer: TransformerConfig,
    decoder: VideoDecoderConfig,
    dtype: torch.dtype,
) -> int:
    """The bytes needed at one time, from runs of the networks on the meta device."""
    factor = decoder.spatial_factor
    height, width = sizes.height // factor, sizes.width // factor
    shape = (1, transformer.in_channels, sizes.block_frames + 1, height, width)
    latents = shape[1] * shape[2] * height * width * _FLOAT
    states = _states(sizes, transformer, decoder, dtype) + latents
    denoise = denoise_bytes(transformer, dtype, shape)
    if isinstance(decoder, LTX2VAEConfig):  # decodes in tiles where memory is short
        return states + denoise
    decode, _ = decode_bytes(decoder, dtype, (*shape[:2], 1, *shape[3:]))
    frames = sizes.height * sizes.width * 3 * (1 + sizes.block_frames * decoder.temporal_factor)
    return states + max(denoise, decode + frames)


def _gibibytes(count: int) -> str:
    return f"{count / (1 << 30):,.1f} GiB"
