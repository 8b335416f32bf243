"""Training of the autoencoder: a closed-form encoder and a learned decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.layers import AttentionBlock, ResidualBlock, RMSNorm
from sana_stream.models.vae.wan import Upsample, WanVAE
from storybook.motion import Path as Swing
from storybook.scenes import Clip, draw_clip
from storybook.world import HEIGHT, WIDTH, change_scene, draw_scene

from .components import fit, shortened, write
from .enlarging import SmallerModel
from .machine import weights_dtype
from .optimizer import Optimizer, averaged
from .run import Run

# Folded by 8 x 8 pixels and halved twice, a latent pixel is 32 x 32: one transformer token.
CHANNELS, FOLD = 96, 8
CONFIG = WanVAEConfig(
    latents_mean=(0.0,) * CHANNELS,
    latents_std=(1.0,) * CHANNELS,
    base_dim=34,  # three times this exceeds the latent channels by a few constant ones
    decoder_base_dim=32,
    z_dim=CHANNELS,
    dim_mult=(2, 3, 3),
    num_res_blocks=1,
    temperal_downsample=(True, True),
    in_channels=3 * FOLD**2,
    out_channels=3 * FOLD**2,
    patch_size=FOLD,
)
Encode = Callable[[Tensor], tuple[Tensor, object]]  # frames (B, 3, T, H, W) to latents first
NOISE = 0.2  # maximal noise added to latents, for those of the transformer are not exact
SUBJECT = 16.0  # additional weight of the subject's pixels
SQUARES = 12.0  # weight of the squared error relative to the absolute one
LONG, SHORT = 33, 17
CROP = (HEIGHT // 2, WIDTH // 2)
CLIPS = 72  # rendered at a time, to crop from
SKELETON = 0.04  # share of the time for the decoder without residual branches
WHOLE = 0.6  # share of the rest after which whole frames replace crops


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames (B, 3, T, H, W) in [-1, 1], and the subject's share of each pixel (B, 1, ...)."""

    frames: Tensor
    mask: Tensor


class Pool:
    """Rendered clips, one of which is replaced at every third batch; batches are crops."""

    def __init__(self, seed: int, device: str, size: int) -> None:
        self.device, self.batches = device, 0
        self.rng = np.random.default_rng(seed)
        self.clips = [self._render() for _ in range(size)]

    def batch(self, count: int, frames: int, size: tuple[int, int]) -> Batch:
        """Crop random clips; about half of the crops are centred on the subject."""
        self.batches += 1
        if self.batches % 3 == 0:
            self.clips[self.rng.integers(len(self.clips))] = self._render()
        cuts = [self._cut(frames, size) for _ in range(count)]
        images = torch.from_numpy(np.stack([cut[0] for cut in cuts])).to(self.device)
        masks = torch.from_numpy(np.stack([cut[1] for cut in cuts])).to(self.device)
        return Batch(
            images.permute(0, 4, 1, 2, 3).float() / 127.5 - 1, masks[:, None].float() / 255
        )

    def _render(self) -> Clip:
        rng = self.rng
        scene = draw_scene(rng, held_out=rng.random() < 0.05)
        path = Swing(float(rng.uniform(0, 2 * pi))) if rng.random() < 0.25 else None
        if rng.random() < 0.3:
            scenes, starts = (scene, change_scene(scene, rng)), (0, int(rng.integers(4, 17)))
        else:
            scenes, starts = (scene,), (0,)
        offset = float(rng.uniform(0, 16) if path else rng.integers(16))  # or as in streams
        return draw_clip(scenes, starts, LONG, path, offset=offset)

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


def reconstruction_loss(decoded: Tensor, batch: Batch) -> Tensor:
    """Weighted L1 and L2 loss, with terms for chroma and edges."""
    weight = 1 + SUBJECT * batch.mask
    error = decoded - batch.frames
    chroma = error - error.mean(dim=1, keepdim=True)
    colour = (weight * (error.abs() + SQUARES * error.square() + 0.5 * chroma.abs())).mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return colour + 0.5 * edges


def compile_slow_parts(vae: WanVAE) -> Callable[[Tensor, Batch], Tensor]:
    """Compile the norms in place and return the compiled loss; both cost more than convolutions."""
    torch._dynamo.config.recompile_limit = 64  # shapes of a norm: widths times kinds of batches
    for module in vae.decoder.modules():
        if isinstance(module, RMSNorm):
            module.compile(dynamic=False)
    return torch.compile(reconstruction_loss, dynamic=False)


def build(
    weights: dict[str, Tensor], device: str = "cpu", dtype: torch.dtype | None = None
) -> WanVAE:
    """Create an autoencoder with weights, in the fastest memory layout of convolutions."""
    vae = WanVAE(CONFIG)
    vae.load_state_dict(weights)
    vae.to(device=device, dtype=dtype or weights_dtype(device))
    for p in vae.parameters():
        if p.ndim == 5:
            p.data = p.data.contiguous(memory_format=torch.channels_last_3d)
    return vae


def begin(seed: int = 0, clips: int = 60, smaller: Path | None = None) -> dict[str, Tensor]:
    """Fit the encoder, and initialize a decoder whose residual branches are zero.

    With `smaller`, a model folder of half the height and width, latents come near to that model's,
    and the decoder is its own, enlarged.
    """
    torch.manual_seed(seed)
    vae = WanVAE(CONFIG)
    pool = Pool(seed + 1, "cpu", size=clips)
    frames = torch.cat([pool.batch(1, SHORT, (HEIGHT, WIDTH)).frames for _ in range(clips)])
    components = fit(frames, FOLD, (CONFIG.base_dim, 2 * CONFIG.base_dim, CHANNELS))
    write(vae, components)
    if smaller is not None:
        model = SmallerModel.read(smaller)
        some = frames[: max(1, clips // 3)]
        pair = [_rows(encoded) for encoded in (shortened(vae).encode(some)[0], model.encode(some))]
        write(vae, components.like(*pair))
        model.enlarge(vae)
        return vae.state_dict()
    for module in vae.decoder.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)  # type: ignore[arg-type]
        elif isinstance(module, AttentionBlock):
            nn.init.zeros_(module.proj.weight)
            nn.init.zeros_(module.proj.bias)  # type: ignore[arg-type]
    # at this bias the last norm and SiLU are almost linear
    last = [m for m in vae.decoder.modules() if isinstance(m, Upsample)][-1].resample[1]
    assert isinstance(last, nn.Conv2d)
    nn.init.constant_(last.bias, 3.0)  # type: ignore[arg-type]
    nn.init.constant_(vae.decoder.norm_out.gamma, 2.4)
    return vae.state_dict()


def _rows(latents: Tensor) -> Tensor:
    """Latents of all but the first frame, (n, C)."""
    return latents[:, :, 1:].movedim(1, -1).flatten(0, -2)


def train(
    folder: Path,
    minutes: float,
    device: str = "cpu",
    seed: int = 0,
    compiled: bool = False,
    begin_with: Path | None = None,
) -> None:
    """Train the decoder until the time budget is spent; resumes from the states in `folder`.

    The first run trains the linear skeleton on small crops, with a rate that decreases to zero. In
    a Wan decoder each upsampled pixel lacks its position within the cell, and the linear part of
    its correction is learned within minutes. The second run trains all of it at a lower rate.

    The encoder is fixed beforehand in `folder/encoder.pt`, so that a transformer can be trained on
    its latents at the same time. With `begin_with`, a model folder of half the height and width,
    training begins with its decoder, enlarged, and without a skeleton.
    """
    torch.manual_seed(seed)
    vae = build(first_weights(folder, seed, begin_with), device)
    encode = encoder(vae.state_dict(), device)
    first = 0 if begin_with else SKELETON
    skeleton = Run("skeleton", folder, first * minutes * 60)
    whole = Run("autoencoder", folder, (1 - first) * minutes * 60)
    losses = compile_slow_parts(vae) if compiled else reconstruction_loss
    if not (begin_with or whole.state_file.exists()):
        short = shortened(vae, "decoder")
        _train(skeleton, vae, short.decode, encode, seed, 1.0, lambda run: (3, 9, CROP))
        skeleton_state = torch.load(skeleton.state_file, weights_only=False)
        vae.decoder.load_state_dict(averaged(skeleton_state))
    _train(whole, vae, vae.decode, encode, seed, 0.3, _shape, losses)


def _train(
    run: Run,
    vae: WanVAE,
    decode: Callable[..., tuple[Tensor, object]],
    encode: Encode,
    seed: int,
    full_rate: float,
    shape: Callable[[Run], tuple[int, int, tuple[int, int]]],
    loss_of: Callable[[Tensor, Batch], Tensor] = reconstruction_loss,
) -> None:
    optimizer = Optimizer(vae.decoder, _kernels(vae.decoder), decay=0.998)
    if state := run.load():
        optimizer.load(state["optimizer"])
    if not run.has_time:
        return
    pool = Pool(seed + run.steps, str(vae.quant_conv.weight.device), CLIPS)
    mean: float | None = None
    while run.has_time:
        batch = pool.batch(*shape(run))
        with torch.no_grad():
            z, _ = encode(batch.frames)
        spread = NOISE * torch.rand(len(z), 1, 1, 1, 1, device=z.device).square()
        decoded, _ = decode(z + spread * torch.randn_like(z), clamp=False)
        loss = loss_of(decoded, batch)
        loss.backward()
        optimizer.step(full_rate * run.rate(cool=1.0))
        run.tick()
        value = float(loss.detach())
        mean = value if mean is None else 0.95 * mean + 0.05 * value
        if run.steps % 50 == 0:
            run.log(loss=mean, psnr=_psnr(decoded, batch.frames))
        if run.due():
            run.save(optimizer=optimizer.state())


def encoder(weights: dict[str, Tensor], device: str = "cpu") -> Encode:
    """Create a function from frames (B, 3, T, H, W) on any device to latents on `device`."""
    vae = shortened(build(weights, device))
    return lambda frames: vae.encode(frames.to(device))


def first_weights(folder: Path, seed: int = 0, begin_with: Path | None = None) -> dict[str, Tensor]:
    """Load `folder/encoder.pt`, which the first call creates, as `begin` describes."""
    file = folder / "encoder.pt"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(begin(seed, smaller=begin_with), file)
    return torch.load(file, weights_only=True)


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """Load the autoencoder as trained so far."""
    trained = averaged(torch.load(folder / "autoencoder.pt", weights_only=False))
    return first_weights(folder) | {f"decoder.{name}": p for name, p in trained.items()}


def _shape(run: Run) -> tuple[int, int, tuple[int, int]]:
    """Number of clips, frames, and size of the next batch: first crops, later whole frames.

    Clips of 17 and 33 frames alternate: trained on short ones only, the decoder fails on long ones.
    """
    long = run.steps % 2 == 1
    if run.share > WHOLE:
        return (1, LONG, (HEIGHT, WIDTH // 2)) if long else (1, SHORT, (HEIGHT, WIDTH))
    return (2, LONG, CROP) if long else (3, SHORT, CROP)


def _kernels(decoder: nn.Module) -> list[str]:
    return [
        name
        for name, p in decoder.named_parameters()
        if p.ndim >= 4 and "conv_out" not in name and not name.endswith("gamma")
    ]


def _psnr(decoded: Tensor, truth: Tensor) -> float:
    error = F.mse_loss(decoded.detach().clamp(-1, 1), truth) / 4
    return float(-10 * error.log10())
