"""Embeddings of timesteps and of text, which all transformers share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fp8 import input_dtype

SINUSOID_WIDTH = 256
MAX_PERIOD = 10000.0


def random_table(rows: int, width: int) -> nn.Parameter:
    """Return a parameter (`rows`, `width`), normal with variance 1/`width`; empty on "meta".

    Arithmetic on the meta device imports torch's compiler and sympy, which takes 2 s.
    """
    if torch.get_default_device().type == "meta":
        return nn.Parameter(torch.empty(rows, width))
    return nn.Parameter(torch.randn(rows, width) / width**0.5)


def sinusoid(timestep: Tensor) -> Tensor:
    """Sinusoidal embedding of timesteps (...), 0 to 1000: float32 (..., 256), cosines first."""
    half = SINUSOID_WIDTH // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timestep.device) / half
    angles = timestep.float().unsqueeze(-1) * torch.exp(-math.log(MAX_PERIOD) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class _Mlp(nn.Module):
    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_features, width)
        self.linear_2 = nn.Linear(width, width)


class TimestepEmbedder(_Mlp):
    """Linear, SiLU, Linear."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TextProjection(_Mlp):
    """Linear, GELU (tanh form), Linear."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(x), approximate="tanh"))


class _Embedder(nn.Module):
    """Wrapper for the published parameter name `time_embed.emb.timestep_embedder`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.timestep_embedder = TimestepEmbedder(SINUSOID_WIDTH, width)


class TimeEmbedding(nn.Module):
    """Time embedding, and the six modulations (adaLN-single) that all layers share."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.emb = _Embedder(width)
        self.linear = nn.Linear(width, 6 * width)

    def forward(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Map timesteps (B, T or 1) to modulations (B, T or 1, 6, D) and embedding (..., D)."""
        embedded = self.emb.timestep_embedder(sinusoid(timestep).to(input_dtype(self.linear)))
        return self.linear(F.silu(embedded)).unflatten(-1, (6, -1)), embedded
