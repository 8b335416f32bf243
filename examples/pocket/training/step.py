"""The loss of one batch of clips: the transformer's inputs, past and targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sana_stream.models.memory_policy import parse_memory_policy
from storybook.captions import caption, plain_caption
from storybook.world import Scene

from .blocks import (
    Compiled,
    Layout,
    RowCaptions,
    after_convolution,
    before_convolution,
    velocities,
)
from .clips import LatentClip, latent_frames
from .networks import Networks

MEMORY = "window=1"
TIMESTEPS = (1000, 985, 965, 935, 890, 810, 690, 450)  # of a stream's denoising
AT_TIMESTEPS = 0.7  # share of training at exactly these levels; the rest is anywhere
SHOWS_MOMENT = 940  # highest level at which noised truth still shows its moment of the cycle
OWN = 0.4  # share of long batches whose past is the model's own roll-out
READING = 0.1  # weight of the text encoder's attribute loss
PLAIN = 0.3  # share of captions in the plainest words and one fixed order
NEVER = 10**6  # block of the caption change of a clip without a switch


@dataclass(frozen=True, slots=True)
class Captions:
    """Encoded captions of a batch, and the block of each clip's change."""

    embeds: Tensor  # (captions, L, C)
    mask: Tensor  # (captions, L)
    first: Tensor  # int64 (B, 1): index of a clip's caption; the next one follows the change
    switch: Tensor  # int64 (B, 1): block of the change

    def obeyed(self, layout: Layout) -> RowCaptions:
        """Assign a caption to each row; a committed block has that of the block after it."""
        committed = torch.arange(len(layout.block), device=layout.block.device) < layout.clean
        changed = layout.block + committed.long() >= self.switch
        return RowCaptions(self.embeds, self.mask, self.first + changed)


class Step:
    """The loss of one batch; `blocks` of a long clip, `streams` noisy copies of each."""

    def __init__(
        self,
        networks: Networks,
        rng: np.random.Generator,
        blocks: int,
        streams: int = 2,
        compiled: bool = False,
    ) -> None:
        self.networks, self.rng = networks, rng
        self.device = networks.transformer.proj_out.weight.device
        policy, frames = parse_memory_policy(MEMORY), latent_frames(blocks)

        def layout(frames: list[int], requested: range, streams: int = 1) -> Layout:
            return Layout.of(frames, policy, requested, streams).to(self.device)

        self.layouts = {count: layout(latent_frames(count), range(1)) for count in (0, 1)}
        self.layouts[blocks] = layout(frames, range(1, blocks), streams)
        self.one_after_another = [layout(frames, range(b, b + 1)) for b in range(blocks - 1)]
        self.halves: Compiled | None = None
        if compiled:
            torch._dynamo.config.recompile_limit = (
                64  # shapes: kinds of clips, with gradients or not
            )
            self.halves = (
                torch.compile(before_convolution, dynamic=False),
                torch.compile(after_convolution, dynamic=False),
            )

    def loss(self, clips: list[LatentClip]) -> Tensor:
        """Compute the velocity's weighted squared error plus the attribute loss of captions."""
        layout = self.layouts[clips[0].blocks]
        latents = torch.stack([clip.latents for clip in clips]).to(self.device).float()
        captions, scenes = self._captions(clips)
        words = captions.obeyed(layout)
        past = self._past(latents, captions) if layout.clean else latents
        x0 = latents[:, :, layout.noisy]
        sigma = self._sigmas(len(clips), layout.units)[:, layout.unit]
        noise = torch.randn_like(x0)
        spread = sigma[:, None, :, None, None]
        noisy = (1 - spread) * x0 + spread * noise
        predicted = self._velocities(past, noisy, sigma, words, layout)
        weight = _weights(clips).to(self.device)[:, layout.noisy]
        error = (predicted.float() - (noise - x0)).square().mean(dim=1)
        reading = self.networks.readers.loss(words.embeds, words.mask, scenes)
        return (weight * error).sum() / weight.sum() + READING * reading

    def _velocities(
        self, past: Tensor, noisy: Tensor, sigma: Tensor, words: RowCaptions, layout: Layout
    ) -> Tensor:
        model = self.networks.transformer
        return velocities(model, past, noisy, 1000 * sigma, words, layout, self.halves)

    def _sigmas(self, clips: int, units: int) -> Tensor:
        """Choose one noise level per block, mostly one of a stream's levels."""
        size = (clips, units)
        anywhere = torch.sigmoid(0.8 + 1.2 * torch.randn(size))
        levels = torch.tensor(TIMESTEPS) / 1000
        at_level = levels[torch.randint(len(levels), size)]
        return torch.where(torch.rand(size) < AT_TIMESTEPS, at_level, anywhere).to(self.device)

    def _past(self, x0: Tensor, captions: Captions) -> Tensor:
        """Return a past as in a stream: with noise in most clips, or the model's own roll-out."""
        amount = 0.15 * torch.rand(len(x0), 1, 1, 1, 1, device=self.device)
        amount = amount * (torch.rand_like(amount) < 0.7)
        past = (1 - amount) * x0 + amount * torch.randn_like(x0)
        return self._rolled_out(x0, past, captions) if self.rng.random() < OWN else past

    @torch.no_grad()
    def _rolled_out(self, x0: Tensor, past: Tensor, captions: Captions) -> Tensor:
        """Generate the past with the model itself, block by block, in the steps of a stream.

        The first block starts from noised truth, so that it shows the same moment as the clip.
        Later blocks start from pure noise.
        """
        first = next(i for i, timestep in enumerate(TIMESTEPS) if timestep <= SHOWS_MOMENT)
        begin = int(self.rng.integers(first, len(TIMESTEPS) - 1))
        for block, layout in enumerate(self.one_after_another):
            words, x = captions.obeyed(layout), x0[:, :, layout.noisy]
            for timestep in TIMESTEPS[begin:] if block == 0 else TIMESTEPS:
                sigma = torch.full((len(x), x.shape[2]), timestep / 1000, device=self.device)
                noisy = (1 - timestep / 1000) * x + timestep / 1000 * torch.randn_like(x)
                velocity = self._velocities(past, noisy, sigma, words, layout)
                x = noisy - timestep / 1000 * velocity.float()
            past = past.index_copy(2, layout.noisy, x)
        return past

    def _captions(self, clips: list[LatentClip]) -> tuple[Captions, list[Scene]]:
        """Write and encode new captions; return the scene of each of them."""
        scenes = [scene for clip in clips for scene in clip.scenes]
        counts = [len(clip.scenes) for clip in clips]
        first = [sum(counts[:i]) for i in range(len(clips))]
        switch = [clip.switch if len(clip.scenes) > 1 else NEVER for clip in clips]
        texts = [
            plain_caption(scene) if self.rng.random() < PLAIN else caption(scene, self.rng)
            for scene in scenes
        ]
        embeds, mask = self.networks.captioner(texts)
        first_and_switch = torch.tensor([first, switch], device=self.device).unsqueeze(-1)
        return Captions(embeds, mask, *first_and_switch), scenes


def _weights(clips: list[LatentClip]) -> Tensor:
    """Weights (B, T, h, w) of the error, larger on the subject."""
    return 1 + 6 * torch.stack([clip.mask for clip in clips]).float() / 255
