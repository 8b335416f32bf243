"""A closed-form encoder: principal components of the rendered frames as weights of a Wan encoder.

Squares of pixels become their principal components. These are folded twice: four neighbouring cells
to their principal components, then two frames to their mean and to the principal components of
their difference. A stream's first frame has no
difference; its difference channels are zero, as for a still clip. Residual branches are zero, so
that latents are fixed before any training.

The encoder's last norm and SiLU are not linear. Constant channels, larger than all others, make
the norm's factor constant, and for small values SiLU(x) is about x / 2.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor, nn

from sana_stream.models.vae.layers import AttentionBlock, ConvCache, ResidualBlock, StreamingLayer
from sana_stream.models.vae.wan import TemporalDownsample, WanVAE

MEANS = (44, 62)  # channels for means at each of the two foldings; the others are differences
STEADY, SMALL = 100.0, 0.04  # values of the constant channels, and scale of the SiLU's input
EVENNESS = 0.5  # 0: latents keep the components' deviations; 1: all latents have deviation 1


@dataclass(frozen=True, slots=True)
class Folding:
    """Folding of 2 x 2 cells and 2 frames, by orthonormal rows."""

    cells: Tensor  # (means, 4 · channels): components of four cells, in row order
    moves: Tensor  # (differences, means): components of the difference over time

    def __call__(self, x: Tensor) -> Tensor:
        """Fold (B, C, T, H, W) to (B, means + differences, T', H/2, W/2); the first frame alone."""
        x = torch.einsum("mk,bkthw->bmthw", self.cells, _cells(x))
        first, rest = x[:, :, :1], x[:, :, 1:]
        old, new = rest[:, :, 0::2], rest[:, :, 1::2]
        moves = torch.einsum("dm,bmthw->bdthw", self.moves, (new - old) / 2)
        still = torch.zeros_like(first[:, :1]).expand(-1, len(self.moves), -1, -1, -1)
        start, later = torch.cat((first, still), 1), torch.cat(((old + new) / 2, moves), 1)
        return torch.cat((start, later), 2)


@dataclass(frozen=True, slots=True)
class Components:
    """A closed-form encoder: all that `write` needs."""

    squares: Tensor  # (channels, 3 · side²): components of a square of pixels
    foldings: list[Folding]
    mixing: Tensor  # (latents, latents): to uncorrelated latents
    bias: Tensor  # (latents,), added after it

    def like(self, latents: Tensor, others: Tensor) -> Components:
        """Rotate the latents so that they come nearest to those of another encoder.

        Both are (n, latents), of the same frames. A rotation keeps all that the components hold.
        """
        centred, wanted = latents - latents.mean(0), others - others.mean(0)
        left, _, right = torch.linalg.svd(wanted.mT @ centred)
        turn = left @ right
        bias = turn @ (self.bias - latents.mean(0)) + others.mean(0)
        return replace(self, mixing=turn @ self.mixing, bias=bias)


@torch.no_grad()
def fit(frames: Tensor, side: int, channels: tuple[int, int, int]) -> Components:
    """Fit squares of `side` pixels, two foldings, and the last mixing of channels.

    `frames` is (B, 3, T, H, W); `channels` are those after the squares and after each folding.
    """
    x = fold(frames, side)
    squares = _components(x).mT[: channels[0]]
    x = torch.einsum("mk,bkthw->bmthw", squares, x)
    foldings = []
    for means, width in zip(MEANS, channels[1:], strict=True):
        cells = _components(_cells(x)).mT[:means]
        kept = torch.einsum("mk,bkthw->bmthw", cells, _cells(x))[:, :, 1:]
        moves = _components(kept[:, :, 1::2] - kept[:, :, 0::2], centred=True)
        foldings.append(Folding(cells, moves.mT[: width - means]))
        x = foldings[-1](x)
    rows = x[:, :, 1:].movedim(1, -1).flatten(0, -2)
    mean = rows.mean(0)
    variances, axes = torch.linalg.eigh((rows - mean).mT @ (rows - mean) / len(rows))
    mixing = axes.mT.flip(0) * variances.flip(0).clamp_min(1e-6)[:, None].pow(-EVENNESS / 2)
    scale = ((rows - mean) @ mixing.mT).square().mean().sqrt()
    mixing = mixing / scale
    return Components(squares, foldings, mixing, -mixing @ mean)


@torch.no_grad()
def write(vae: WanVAE, components: Components) -> None:
    """Write the components to the encoder's weights."""
    encoder, width = vae.encoder, len(components.bias)
    for parameter in (*encoder.parameters(), *vae.quant_conv.parameters()):
        parameter.zero_()
    encoder.conv_in.weight[: len(components.squares), :, -1, 1, 1] = components.squares
    halvings = [m for m in encoder.modules() if isinstance(m, TemporalDownsample)]
    for halving, folding in zip(halvings, components.foldings, strict=True):
        _write_halving(halving, folding)
    for module in encoder.modules():
        if isinstance(module, ResidualBlock) and isinstance(module.conv_shortcut, nn.Conv3d):
            _set_diagonal(module.conv_shortcut.weight[:, :, 0, 0, 0])
    _add_steady_channels(halvings[-1], width)
    steady = 1 - width / len(encoder.norm_out.gamma)  # share of the channels
    encoder.norm_out.gamma.fill_(SMALL)
    _set_diagonal(encoder.conv_out.weight[:, :, -1, 1, 1])
    gain = 2 * STEADY * steady**0.5 / SMALL
    z = vae.config.z_dim
    vae.quant_conv.weight[:z, :width, 0, 0, 0] = gain * components.mixing
    vae.quant_conv.bias[:z] = components.bias  # type: ignore[index]


def shortened(vae: WanVAE, half: str = "encoder") -> WanVAE:
    """Copy a VAE without the residual branches of one half, which are zero; weights are shared."""
    short = copy(vae)
    short._modules = dict(vae._modules)
    short._modules[half] = _without_branches(vae.get_submodule(half))
    return short


def _without_branches(module: nn.Module) -> nn.Module:
    if isinstance(module, ResidualBlock):
        return _Bypass(module.conv_shortcut)
    if isinstance(module, AttentionBlock):
        return _Bypass(nn.Identity())
    short = copy(module)
    short._modules = {
        name: child and _without_branches(child) for name, child in module._modules.items()
    }
    return short


def fold(frames: Tensor, side: int) -> Tensor:
    """Fold frames (B, 3, T, H, W): squares of pixels become channels, the autoencoder's input."""
    return rearrange(frames, "b c t (h p) (w q) -> b (c q p) t h w", p=side, q=side)


class _Bypass(StreamingLayer):
    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv_shortcut = shortcut

    def forward(self, x: Tensor, tails: ConvCache | None) -> tuple[Tensor, ConvCache]:
        return self.conv_shortcut(x), ()


def _write_halving(halving: TemporalDownsample, folding: Folding) -> None:
    means, differences = len(folding.cells), len(folding.moves)
    space, time = halving.resample[1], halving.time_conv
    assert isinstance(space, nn.Conv2d)
    channels = folding.cells.shape[1] // 4
    cells = rearrange(folding.cells, "m (p q c) -> m c p q", p=2, q=2)
    space.weight[:means, :channels, :2, :2] = cells
    for tap, sign in ((1, -1.0), (2, 1.0)):
        weight = time.weight[:, :, tap, 0, 0]
        _set_diagonal(weight[:means, :means], 0.5)
        weight[means : means + differences, :means] = sign * folding.moves / 2


def _add_steady_channels(halving: TemporalDownsample, width: int) -> None:
    space = halving.resample[1]
    assert space.bias is not None
    space.bias[width:] = STEADY  # type: ignore[operator]
    for tap in (1, 2):
        _set_diagonal(halving.time_conv.weight[width:, width:, tap, 0, 0], 0.5)


def _set_diagonal(matrix: Tensor, value: float = 1.0) -> None:
    matrix.diagonal().fill_(value)


def _cells(x: Tensor) -> Tensor:
    return rearrange(x, "b c t (h p) (w q) -> b (p q c) t h w", p=2, q=2)


def _components(x: Tensor, centred: bool = False) -> Tensor:
    """Principal axes of the channels of x, as columns, the largest first."""
    rows = x.movedim(1, -1).flatten(0, -2)
    rows = rows if centred else rows - rows.mean(0)
    return torch.linalg.eigh(rows.mT @ rows)[1].flip(1)
