"""The autoencoder's stage: pictures to latents and back, from rendered clips alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sana_stream.models.vae import WanVAE
from sana_stream.models.vae_config import VaeConfig
from sana_stream.models.vae_layers import AttentionBlock, ResidualBlock, RMSNorm
from storybook.motion import draw_path
from storybook.scenes import Clip, draw_clip
from storybook.world import HEIGHT, WIDTH, change_scene, draw_scene

from .optimizer import Optimizer
from .run import Run

CONFIG = VaeConfig(
    latents_mean=(0.0,) * 24,
    latents_std=(1.0,) * 24,
    base_dim=24,
    decoder_base_dim=24,
    z_dim=24,
    dim_mult=(1, 2, 4),
    num_res_blocks=1,
    temperal_downsample=(True, True),
    in_channels=12,
    out_channels=12,
    patch_size=2,
)
NOISE = 0.15  # at most; added to latents in training: neighbouring latents must decode alike
SQUARES = 12.0  # weight of the squared error beside the absolute one
LONG, SHORT = 33, 17


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures (B, 3, T, H, W) in [-1, 1] and how much of each pixel is the subject (B, 1, ...)."""

    frames: Tensor
    mask: Tensor


class Pool:
    """Rendered clips, a few renewed at every step; batches are cut out of them."""

    def __init__(self, seed: int, device: str, size: int = 48) -> None:
        self.device = device
        self.rng = np.random.default_rng(seed)
        self.clips = [self._render() for _ in range(size)]

    def batch(self, count: int, frames: int, size: tuple[int, int]) -> Batch:
        """Crops of random clips; half of them stand on the subject."""
        self.clips[self.rng.integers(len(self.clips))] = self._render()
        cuts = [self._cut(frames, size) for _ in range(count)]
        pictures = torch.from_numpy(np.stack([cut[0] for cut in cuts]))
        masks = torch.from_numpy(np.stack([cut[1] for cut in cuts]))
        pictures, masks = pictures.to(self.device), masks.to(self.device)
        return Batch(
            pictures.permute(0, 4, 1, 2, 3).float() / 127.5 - 1, masks[:, None].float() / 255
        )

    def _render(self) -> Clip:
        rng = self.rng
        scene = draw_scene(rng, held_out=rng.random() < 0.05)
        path, layout = draw_path(rng), int(rng.integers(3))
        path = replace(path, phase=path.phase + float(rng.uniform(0, 6.3)))
        if rng.random() < 0.3:
            scenes, starts = (scene, change_scene(scene, rng)), (0, int(rng.integers(4, 17)))
        else:
            scenes, starts = (scene,), (0,)
        return draw_clip(scenes, starts, LONG, path, layout)

    def _cut(self, frames: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        rng, (height, width) = self.rng, size
        clip = self.clips[rng.integers(len(self.clips))]
        start = int(rng.integers(LONG - frames + 1))
        top, left = rng.integers(HEIGHT - height + 1), rng.integers(WIDTH - width + 1)
        rows, columns = np.nonzero(clip.masks[start] > 128)
        if len(rows) and rng.random() < 0.6:
            pick = rng.integers(len(rows))
            top = np.clip(rows[pick] - height // 2, 0, HEIGHT - height)
            left = np.clip(columns[pick] - width // 2, 0, WIDTH - width)
        cut = np.s_[start : start + frames, top : top + height, left : left + width]
        return clip.frames[cut], clip.masks[cut]


def reconstruction_loss(made: Tensor, batch: Batch, z: Tensor) -> Tensor:
    """Weighted L1 and L2, chroma, edges, and a mild pull of the latents towards zero."""
    weight = 1 + 4 * batch.mask
    off = made - batch.frames
    chroma = off - off.mean(dim=1, keepdim=True)
    colour = (weight * (off.abs() + SQUARES * off.square() + 0.5 * chroma.abs())).mean()
    edges = off.diff(dim=-1).abs().mean() + off.diff(dim=-2).abs().mean()
    return colour + 0.5 * edges + 0.002 * z.square().mean()


def compile_slow_parts(vae: WanVAE) -> Callable[[Tensor, Batch, Tensor], Tensor]:
    """Compile what costs more than the convolutions: the norms, in place, and the loss returned."""
    torch._dynamo.config.recompile_limit = 64  # a norm's shapes: widths times kinds of batches
    for module in vae.modules():
        if isinstance(module, RMSNorm):
            module.compile(dynamic=False)
    return torch.compile(reconstruction_loss, dynamic=False)


def build(
    config: VaeConfig = CONFIG,
    weights: dict[str, Tensor] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
) -> WanVAE:
    """An autoencoder, fresh or with weights, in the memory layout that convolutions like."""
    vae = WanVAE(config)
    if weights is None:
        _begin_linear(vae)
    else:
        vae.load_state_dict(weights)
    vae.to(device=device, dtype=dtype)
    for p in vae.parameters():
        if p.ndim == 5:
            p.data = p.data.contiguous(memory_format=torch.channels_last_3d)
    return vae


def _begin_linear(vae: WanVAE) -> None:
    """Every residual branch begins at zero: what is left is nearly linear and learns at once."""
    for module in vae.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, AttentionBlock):
            nn.init.zeros_(module.proj.weight)


def train(
    folder: Path, minutes: float, device: str = "cpu", seed: int = 0, compiled: bool = False
) -> None:
    """Train until the budget is spent; goes on from `folder/autoencoder.pt` if it is there."""
    torch.manual_seed(seed)
    run = Run("autoencoder", folder, minutes * 60)
    vae = build(device=device)
    loss_of = compile_slow_parts(vae) if compiled else reconstruction_loss
    optimizer = Optimizer(vae, _kernels(vae), decay=0.998)
    if state := run.load():
        optimizer.load(state["optimizer"])
    if not run.going:
        return
    pool = Pool(seed + run.steps, device)
    mean: float | None = None
    while run.going:
        batch = pool.batch(*_shape(run))
        z, _ = vae.encode(batch.frames)
        noise = NOISE * torch.rand(len(z), 1, 1, 1, 1, device=device) * torch.randn_like(z)
        made, _ = vae.decode(z + noise, clamp=False)
        loss = loss_of(made, batch, z)
        loss.backward()
        optimizer.step(run.rate(cool=0.8))
        run.tick()
        value = float(loss.detach())
        mean = value if mean is None else 0.95 * mean + 0.05 * value
        if run.steps % 50 == 0:
            run.log(loss=mean, psnr=_psnr(made, batch.frames), z=float(z.detach().std()))
        if run.due():
            run.save(optimizer=optimizer.state())


def _shape(run: Run) -> tuple[int, int, tuple[int, int]]:
    """Clips, frames, size: crops at first, whole pictures at the end.

    Clips of 17 and 33 frames in turn: trained on short ones alone it fails on long ones.
    """
    long = run.steps % 2 == 1
    if run.share > 0.7:
        return (1, LONG, (HEIGHT, WIDTH // 2)) if long else (1, SHORT, (HEIGHT, WIDTH))
    return (2, LONG, (64, 80)) if long else (4, SHORT, (64, 80))


def _kernels(vae: WanVAE) -> list[str]:
    return [
        name
        for name, p in vae.named_parameters()
        if p.ndim >= 4
        and p.shape[0] > 1
        and "conv_out" not in name
        and "quant" not in name
        and not name.endswith("gamma")
    ]


def _psnr(made: Tensor, truth: Tensor) -> float:
    error = F.mse_loss(made.detach().clamp(-1, 1), truth) / 4
    return float(-10 * error.log10())
