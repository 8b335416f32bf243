"""The transformer's stage: block by block under teacher forcing, together with the text encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sana_stream.models.vae import WanVAE

from .clips import BLOCK_FRAMES, ClipPool, LatentClip
from .networks import Networks
from .optimizer import Optimizer
from .run import Run
from .step import Step


@dataclass(frozen=True, slots=True)
class Plan:
    """What the stage spends its time on."""

    blocks: int = 4  # of a long clip
    short_batch: int = 14  # clips of one block a step
    long_batch: int = 2  # clips of `blocks` blocks a step
    short_only: float = 0.3  # share of the time in which a stream's beginning is learnt alone
    short_every: int = 4  # one step in so many is short after that
    grow_every: int = 3  # steps until a pool gets one clip more
    first_clips: int = 120  # of each kind, before the first step that uses them
    compiled: bool = False


def train(
    folder: Path,
    vae: WanVAE,
    minutes: float,
    plan: Plan,
    device: str = "cpu",
    seed: int = 0,
    begin_with: Path | None = None,
) -> None:
    """Train until the budget is spent; goes on from `folder/transformer.pt` if it is there.

    A run that begins takes over what fits of the model folder `begin_with`.
    """
    torch.manual_seed(seed)
    run = Run("transformer", folder, minutes * 60)
    networks = Networks().to(device=device, dtype=torch.bfloat16)
    if begin_with and not run.state_file.exists():
        print(f"{networks.begin_with(begin_with)} tensors taken from {begin_with}", flush=True)
    optimizer = Optimizer(networks, _matrices(networks))
    if state := run.load():
        optimizer.load(state["optimizer"])
    rng = np.random.default_rng((seed, run.steps))
    step = Step(networks, rng, plan.blocks, compiled=plan.compiled)
    means: dict[str, float] = {}
    for clips in _batches(run, plan, vae, folder, seed):
        loss = step.loss(clips, run.share)
        loss.backward()
        optimizer.step(run.rate(cool=1.0))
        run.tick()
        kind, value = _kind(clips), float(loss.detach())
        means[kind] = 0.95 * means.get(kind, value) + 0.05 * value
        if run.steps % 25 == 0:
            run.log(**means)
        if run.due():
            run.save(optimizer=optimizer.state())


def _kind(clips: list[LatentClip]) -> str:
    return "short" if clips[0].latents.shape[1] == BLOCK_FRAMES + 1 else "long"


def _batches(
    run: Run, plan: Plan, vae: WanVAE, folder: Path, seed: int
) -> Iterator[list[LatentClip]]:
    """Short clips alone at first, then long ones with a short one between; the pools grow."""
    rng = np.random.default_rng((seed, 1, run.steps))
    short, long = (ClipPool(vae, folder, blocks, seed) for blocks in (1, plan.blocks))
    while run.going:
        pool, count = long, plan.long_batch
        if run.share < plan.short_only or run.steps % plan.short_every == 0:
            pool, count = short, plan.short_batch
        if run.steps % plan.grow_every == 0:
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
