"""What pictures and latents every video autoencoder takes."""

from __future__ import annotations

from torch import Tensor

from .errors import ConfigError


def check_frames(frames: Tensor, n: int, side: int, start: bool) -> None:
    """Refuse pictures other than (B, 3, T, H, W) that fill whole latent frames.

    Args:
        frames: at the start of a stream T = 1 + k * n, later k * n; H and W multiples of `side`.
        n: pictures of a latent frame.
        side: pixels along one side of a latent pixel.
        start: whether a stream begins.

    Raises:
        ConfigError: what was given and what is taken.
    """
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise ConfigError(f"pictures have shape {tuple(frames.shape)}; give (B, 3, T, H, W)")
    count, height, width = frames.shape[2:]
    if height % side or width % side or not height or not width:
        raise ConfigError(f"pictures of {height}x{width}; height and width must be n·{side}")
    if count < 1 or (count - start) % n:
        rule = f"1, {1 + n}, {1 + 2 * n} …" if start else f"{n}, {2 * n} …"
        place = "at the start of a stream" if start else "with a cache"
        raise ConfigError(f"{count} pictures to encode {place}; give {rule}")


def check_latents(latents: Tensor, channels: int) -> None:
    """Refuse latents other than (B, channels, T' >= 1, h, w).

    Raises:
        ConfigError: what was given and what is taken.
    """
    if latents.ndim != 5 or latents.shape[1] != channels or latents.shape[2] < 1:
        shape = tuple(latents.shape)
        raise ConfigError(f"latents have shape {shape}; give (B, {channels}, T' ≥ 1, h, w)")
