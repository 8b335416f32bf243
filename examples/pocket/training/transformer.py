"""The transformer's stage: block by block under teacher forcing, together with the text encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory import parse_policy
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae import WanVAE
from storybook.captions import caption, plain_caption
from storybook.world import Scene

from .autoencoder import CONFIG as LATENTS
from .blocks import (
    Compiled,
    Layout,
    Words,
    after_convolution,
    before_convolution,
    velocities,
)
from .clips import BLOCK_FRAMES, ClipPool, LatentClip
from .optimizer import Optimizer
from .reading import Readers
from .run import Run
from .text import WIDTH, Captioner, build_encoder, build_tokenizer

HEADS, HEAD_WIDTH, LAYERS = 4, 32, 6
CONFIG = TransformerConfig(
    in_channels=LATENTS.z_dim,
    out_channels=LATENTS.z_dim,
    num_attention_heads=HEADS,
    attention_head_dim=HEAD_WIDTH,
    num_layers=LAYERS,
    num_cross_attention_heads=HEADS,
    cross_attention_head_dim=HEAD_WIDTH,
    cross_attention_dim=HEADS * HEAD_WIDTH,
    caption_channels=WIDTH,
    mlp_ratio=3.0,
    sample_size=28,
)
MEMORY = "decay=0.6"
READING = 0.1  # weight of what the text encoder learns from labels


@dataclass(frozen=True, slots=True)
class Plan:
    """What the stage spends its time on."""

    blocks: int = 4  # of a long clip
    noisy: int = 2  # noisy streams beside the clean one
    short_batch: int = 14  # clips of one block a step
    long_batch: int = 2  # clips of `blocks` blocks a step
    short_only: float = 0.3  # share of the time in which a stream's beginning is learnt alone
    mostly_long: float = 0.7  # from here on two steps of three are long, before it one
    first_clips: int = 120  # of each kind, before the first step that uses them
    compiled: bool = False


class Networks(nn.Module):
    """What this stage trains."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = build_tokenizer()
        self.transformer = SanaVideoTransformer(CONFIG)
        self.text = build_encoder(self.tokenizer)
        self.readers = Readers(WIDTH)
        for layer in self.transformer.layers:
            for weight in (layer.ff.conv_temp.weight, layer.attn2.to_out[0].weight):
                nn.init.zeros_(weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.transformer.proj_out.weight)

    @property
    def captioner(self) -> Captioner:
        return Captioner(self.tokenizer, self.text)


def train(
    folder: Path, vae: WanVAE, minutes: float, plan: Plan, device: str = "cpu", seed: int = 0
) -> None:
    """Train until the budget is spent; goes on from `folder/transformer.pt` if it is there."""
    torch.manual_seed(seed)
    run = Run("transformer", folder, minutes * 60)
    networks = Networks().to(device=device, dtype=torch.bfloat16)
    optimizer = Optimizer(networks, _matrices(networks))
    if state := run.load():
        optimizer.load(state["optimizer"])
    step = Step(networks, plan, np.random.default_rng((seed, run.steps)))
    for clips in _batches(run, plan, vae, folder, seed):
        loss = step.loss(clips, run.share)
        loss.backward()
        optimizer.step(run.rate(cool=1.0))
        run.tick()
        step.note(clips, float(loss.detach()))
        if run.steps % 25 == 0:
            run.log(**step.means)
        if run.due():
            run.save(optimizer=optimizer.state())


class Step:
    """The loss of one batch."""

    def __init__(self, networks: Networks, plan: Plan, rng: np.random.Generator) -> None:
        self.networks, self.plan, self.rng = networks, plan, rng
        self.device = networks.transformer.proj_out.weight.device
        policy = parse_policy(MEMORY)
        self.layouts = {
            blocks: Layout.of(blocks, BLOCK_FRAMES, policy).to(self.device)
            for blocks in (1, plan.blocks)
        }
        self.compiled: Compiled | None = None
        if plan.compiled:
            self.compiled = (
                torch.compile(before_convolution, dynamic=False),
                torch.compile(after_convolution, dynamic=False),
            )
        self.means: dict[str, float] = {}

    def loss(self, clips: list[LatentClip], share: float) -> Tensor:
        """Squared error of the velocity, weighted towards the subject, and of reading captions."""
        blocks = 1 if clips[0].latents.shape[1] == BLOCK_FRAMES + 1 else self.plan.blocks
        layout, streams = self.layouts[blocks], 1 if blocks == 1 else self.plan.noisy
        x0 = torch.stack([clip.latents for clip in clips]).to(self.device).float()
        sigma = self._sigmas(streams, len(clips), blocks)[:, :, layout.block_of]
        spread = sigma[:, :, None, :, None, None]
        noise = torch.randn(streams, *x0.shape, device=self.device)
        clean = None if blocks == 1 else self._context(x0)
        words, told = self._words(clips, layout, streams, share)
        made = velocities(
            self.networks.transformer,
            clean,
            (1 - spread) * x0 + spread * noise,
            1000 * sigma,
            words,
            layout,
            self.compiled,
        )
        weight = self._weights(clips, layout, share)
        error = (made.float() - (noise - x0)).square().mean(dim=2)
        reading = self.networks.readers.loss(words.embeds, words.mask, told)
        return (weight * error).sum() / (weight.sum() * streams) + READING * reading

    def note(self, clips: list[LatentClip], value: float) -> None:
        """Keep a running mean of the loss, of short and of long clips apart."""
        name = "short" if clips[0].latents.shape[1] == BLOCK_FRAMES + 1 else "long"
        self.means[name] = 0.95 * self.means.get(name, value) + 0.05 * value

    def _sigmas(self, streams: int, clips: int, blocks: int) -> Tensor:
        """One noise level a block: logit-normal, and now and then pure noise, where it begins."""
        sigma = torch.sigmoid(0.8 + 1.2 * torch.randn(streams, clips, blocks))
        pure = torch.rand(streams, clips, blocks) < 0.25
        return torch.where(pure, 1.0, sigma).to(self.device)

    def _context(self, x0: Tensor) -> Tensor:
        """The past as a stream finds it: not perfect, in most clips."""
        amount = 0.15 * torch.rand(len(x0), 1, 1, 1, 1, device=self.device)
        amount = amount * (torch.rand_like(amount) < 0.7)
        return (1 - amount) * x0 + amount * torch.randn_like(x0)

    def _words(
        self, clips: list[LatentClip], layout: Layout, streams: int, share: float
    ) -> tuple[Words, list[Scene | None]]:
        """Fresh captions; a committed block obeys the caption of the block after it.

        Returned with them: the scene that each tells of, None for one that is left empty.
        """
        texts: list[str] = []
        told: list[Scene | None] = []
        first, switch = [], []
        for clip in clips:
            first.append(len(texts))
            switch.append(clip.switch if len(clip.scenes) > 1 else 10**6)
            chance, plain = self.rng.random(), 0.6 if share < 0.75 else 0.3
            for scene in clip.scenes:
                told.append(None if chance < 0.1 else scene)
                if chance < 0.1:
                    texts.append("")
                else:
                    told_plainly = self.rng.random() < plain
                    texts.append(plain_caption(scene) if told_plainly else caption(scene, self.rng))
        embeds, mask = self.networks.captioner(texts)
        start = torch.tensor(first, device=self.device)[:, None]
        change = torch.tensor(switch, device=self.device)[:, None]
        noisy = start + (layout.block_of >= change)
        parts = [noisy.expand(streams, -1, -1)]
        if layout.starts.numel():  # more than one block: the clean stream comes first
            parts.insert(0, (start + (layout.block_of + 1 >= change))[None])
        return Words(embeds, mask, torch.cat(parts)), told

    def _weights(self, clips: list[LatentClip], layout: Layout, share: float) -> Tensor:
        """(B, T, h, w): the subject counts several times, at first most; context not at all."""
        mask = torch.stack([clip.mask for clip in clips]).to(self.device).float() / 255
        counted = torch.tensor([clip.beginning for clip in clips], device=self.device)
        frames = counted[:, None] | (layout.block_of > 0)
        return (1 + (6 if share < 0.3 else 3) * mask) * frames[:, :, None, None]


def _batches(
    run: Run, plan: Plan, vae: WanVAE, folder: Path, seed: int
) -> Iterator[list[LatentClip]]:
    """Short clips alone at first, then short and long ones in turn; the pools grow meanwhile."""
    rng = np.random.default_rng((seed, 1, run.steps))
    short, long = (ClipPool(vae, folder, blocks, seed) for blocks in (1, plan.blocks))
    while run.going:
        pool, count = short, plan.short_batch
        every_third = 1 if run.share > plan.mostly_long else 2
        if run.share > plan.short_only and run.steps % 3 >= every_third:
            pool, count = long, plan.long_batch
        pool.grow()
        while len(pool.clips) < plan.first_clips:
            pool.grow()
        yield pool.pick(count, rng)


def _matrices(networks: Networks) -> list[str]:
    """What Muon moves: matrices and kernels, but not embeddings, tables, depthwise, last."""
    out = ("table", "conv_depth", "embed_tokens", "proj_out", "readers")
    return [
        name
        for name, p in networks.named_parameters()
        if p.ndim >= 2 and not any(word in name for word in out)
    ]
