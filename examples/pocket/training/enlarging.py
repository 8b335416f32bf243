"""An autoencoder that begins with a smaller model's: its latents, for pictures twice as large."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.layers import RMSNorm
from sana_stream.models.vae.wan import WanVAE


@dataclass(frozen=True, slots=True)
class SmallerModel:
    """The autoencoder of a model folder whose pictures have half the height and width."""

    vae: WanVAE

    @classmethod
    def read(cls, folder: Path) -> SmallerModel:
        """Read `folder/vae`."""
        values = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
        vae = WanVAE(WanVAEConfig.from_dict(values))
        vae.load_state_dict(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"))
        return cls(vae.float().eval())

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode the halved frames (B, 3, T, H, W) to latents (B, C, T', h, w)."""
        return self.vae.encode(F.avg_pool3d(frames, (1, 2, 2)))[0]

    @torch.no_grad()
    def enlarge(self, vae: WanVAE) -> None:
        """Write this decoder to a wider one with patches twice as large, which repeats its pixels.

        Added channels are zero, and what follows reads them with its own random weights, so that
        they are trained from the first step.
        """
        vae.post_quant_conv.load_state_dict(self.vae.post_quant_conv.state_dict())
        old = dict(self.vae.decoder.named_modules())
        for name, module in vae.decoder.named_modules():
            if isinstance(module, RMSNorm):
                _widen_norm(module, old[name])
            elif isinstance(module, (nn.Conv2d, nn.Conv3d)):
                known = old.get(name)  # none: the shortcut of a block that is now wider
                if name == "conv_out":
                    known = _repeated(self.vae)
                _widen(module, known if isinstance(known, (nn.Conv2d, nn.Conv3d)) else None)


def _widen(conv: nn.Conv2d | nn.Conv3d, known: nn.Conv2d | nn.Conv3d | None) -> None:
    assert conv.bias is not None
    if known is None:
        conv.weight.zero_()
        conv.bias.zero_()
        conv.weight.flatten(1).diagonal().fill_(1.0)
        return
    assert known.bias is not None
    rows, columns = known.weight.shape[:2]
    conv.weight[rows:] = 0
    conv.weight[:rows, :columns] = known.weight
    conv.bias[rows:] = 0
    conv.bias[:rows] = known.bias


def _widen_norm(norm: RMSNorm, known: nn.Module) -> None:
    assert isinstance(known, RMSNorm)
    width, wider = len(known.gamma), len(norm.gamma)
    norm.gamma[:width] = known.gamma * (width / wider) ** 0.5  # the mean is over more channels


def _repeated(vae: WanVAE) -> nn.Conv3d:
    """The last convolution with every pixel of its patches repeated 2 by 2."""
    known, side = vae.decoder.conv_out, vae.config.patch
    fine = torch.arange(2 * side) // 2
    rows = (side * fine[:, None] + fine).flatten()  # columns of a patch, then its rows
    rows = (torch.arange(3)[:, None] * side**2 + rows).flatten()
    large = nn.Conv3d(known.in_channels, len(rows), 3)
    assert known.bias is not None
    assert large.bias is not None
    large.weight.copy_(known.weight[rows])
    large.bias.copy_(known.bias[rows])
    return large
