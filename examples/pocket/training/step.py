"""The loss of one batch of clips: what the transformer is asked, and on which past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sana_stream.models.memory import parse_policy
from storybook.captions import caption, plain_caption
from storybook.world import Scene

from .blocks import (
    Compiled,
    Layout,
    Words,
    after_convolution,
    before_convolution,
    velocities,
)
from .clips import LatentClip, latent_frames
from .networks import Networks

MEMORY = "window=1"
TIMESTEPS = (1000, 980, 940, 870, 740, 450)  # at which streams are denoised
AT_TIMESTEPS = 0.7  # share of training at these very levels; the rest is anywhere
GUESSED = 0.5  # share of long batches whose past is the model's own guess of it
READING = 0.1  # weight of what the text encoder learns from labels
GUIDED, GUIDED_FROM = 0.45, 0.7  # how far past the truth the target goes; from which share on


class Step:
    """The loss of one batch; `blocks` of a long clip, `noisy` streams beside the clean one."""

    def __init__(
        self,
        networks: Networks,
        rng: np.random.Generator,
        blocks: int,
        noisy: int = 3,
        compiled: bool = False,
    ) -> None:
        self.networks, self.rng, self.blocks, self.noisy = networks, rng, blocks, noisy
        self.device = networks.transformer.proj_out.weight.device
        policy = parse_policy(MEMORY)
        self.layouts = {
            count: Layout.of(latent_frames(count), policy).to(self.device)
            for count in (0, 1, blocks)
        }
        self.halves: Compiled | None = None
        if compiled:
            torch._dynamo.config.recompile_limit = (
                64  # shapes: kinds of clips, with gradients or not
            )
            self.halves = (
                torch.compile(before_convolution, dynamic=False),
                torch.compile(after_convolution, dynamic=False),
            )

    def loss(self, clips: list[LatentClip], share: float) -> Tensor:
        """Squared error of the velocity, weighted towards the subject, and of reading captions.

        `share` of training is spent, 0 to 1.
        """
        blocks = clips[0].blocks
        layout, streams = self.layouts[blocks], self.noisy if blocks > 1 else 1
        x0 = torch.stack([clip.latents for clip in clips]).to(self.device).float()
        words, told = self._words(clips, layout, streams, share)
        clean = self._past(x0, words, layout) if blocks > 1 else None
        sigma = self._sigmas(streams, len(clips), max(1, blocks))[:, :, layout.block_of]
        noise = torch.randn(streams, *x0.shape, device=self.device)
        spread = sigma[:, :, None, :, None, None]
        noisy = (1 - spread) * x0 + spread * noise
        made = self._velocities(clean, noisy, sigma, words, layout)
        truth = noise - x0
        if share >= GUIDED_FROM:
            truth = truth + self._guidance(made, clean, noisy, sigma, words, layout)
        weight = _weights(clips, layout).to(self.device)
        error = (made.float() - truth).square().mean(dim=2)
        reading = self.networks.readers.loss(words.embeds[:-1], words.mask[:-1], told)
        return (weight * error).sum() / (weight.sum() * streams) + READING * reading

    def _velocities(
        self, clean: Tensor | None, noisy: Tensor, sigma: Tensor, words: Words, layout: Layout
    ) -> Tensor:
        model = self.networks.transformer
        return velocities(model, clean, noisy, 1000 * sigma, words, layout, self.halves)

    @torch.no_grad()
    def _guidance(
        self,
        made: Tensor,
        clean: Tensor | None,
        noisy: Tensor,
        sigma: Tensor,
        words: Words,
        layout: Layout,
    ) -> Tensor:
        """What classifier-free guidance would add, learnt into the model (Tang et al. 2025).

        A stream then needs one call a step. Clips without a caption add nothing, as both of
        their velocities are the same.
        """
        empty = torch.full_like(words.which, len(words.embeds) - 1)
        plain = self._velocities(clean, noisy, sigma, replace(words, which=empty), layout)
        return GUIDED * (made.float() - plain.float())

    def _sigmas(self, streams: int, clips: int, blocks: int) -> Tensor:
        """One noise level a block: mostly one of those at which streams are denoised."""
        size = (streams, clips, blocks)
        anywhere = torch.sigmoid(0.8 + 1.2 * torch.randn(size))
        levels = torch.tensor(TIMESTEPS) / 1000
        at_level = levels[torch.randint(len(levels), size)]
        return torch.where(torch.rand(size) < AT_TIMESTEPS, at_level, anywhere).to(self.device)

    def _past(self, x0: Tensor, words: Words, layout: Layout) -> Tensor:
        """The past as a stream finds it: not perfect, in most clips, or the model's own guess."""
        amount = 0.15 * torch.rand(len(x0), 1, 1, 1, 1, device=self.device)
        amount = amount * (torch.rand_like(amount) < 0.7)
        clean = (1 - amount) * x0 + amount * torch.randn_like(x0)
        return self._guess(x0, clean, words, layout) if self.rng.random() < GUESSED else clean

    @torch.no_grad()
    def _guess(self, x0: Tensor, clean: Tensor, words: Words, layout: Layout) -> Tensor:
        """Every block as the model guesses it in one step from a noise level between the ends."""
        sigma = TIMESTEPS[int(self.rng.integers(1, len(TIMESTEPS) - 1))] / 1000
        noisy = ((1 - sigma) * x0 + sigma * torch.randn_like(x0)).expand(self.noisy, *x0.shape)
        levels = torch.full((self.noisy, len(x0), x0.shape[2]), sigma, device=self.device)
        made = self._velocities(clean, noisy, levels, words, layout)
        return noisy[0] - sigma * made[0].float()

    def _words(
        self, clips: list[LatentClip], layout: Layout, streams: int, share: float
    ) -> tuple[Words, list[Scene | None]]:
        """Fresh captions; a committed block obeys the caption of the block after it.

        The last caption is empty. Returned with them: the scene that each but the last tells
        of, None for one that is left empty.
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
        embeds, mask = self.networks.captioner([*texts, ""])
        start = torch.tensor(first, device=self.device)[:, None]
        change = torch.tensor(switch, device=self.device)[:, None]
        noisy = start + (layout.block_of >= change)
        parts = [noisy.expand(streams, -1, -1)]
        if layout.starts.numel():  # more than one block: the clean stream comes first
            parts.insert(0, (start + (layout.block_of + 1 >= change))[None])
        return Words(embeds, mask, torch.cat(parts)), told


def _weights(clips: list[LatentClip], layout: Layout) -> Tensor:
    """(B, T, h, w): the subject counts several times; context not at all."""
    mask = torch.stack([clip.mask for clip in clips]).float() / 255
    counted = torch.tensor([clip.beginning for clip in clips])
    frames = counted[:, None] | (layout.block_of.cpu() > 0)
    return (1 + 6 * mask) * frames[:, :, None, None]
