"""Training of the transformer under teacher forcing, together with the text encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .autoencoder import Encode
from .clips import ClipPool, LatentClip
from .machine import weights_dtype
from .networks import Networks
from .optimizer import Optimizer
from .reading import teach
from .run import Run
from .step import Step

CAPTIONS_SHARE = 0.04  # of the time, before the transformer's training


@dataclass(frozen=True, slots=True)
class Kind:
    """Pool and batch size of one kind of clips."""

    batch: int  # clips per step
    first: int = 150  # clips before the first step of this kind
    grow: float = 0.5  # new clips per step of this kind


@dataclass(frozen=True, slots=True)
class Plan:
    """Schedule of the stage: single frames, then first blocks, then also longer clips."""

    blocks: int = 3  # of a long clip: two more than the memory keeps, for a past with a past
    picture: Kind = Kind(batch=48, first=500, grow=6)
    short: Kind = Kind(batch=10, first=100)
    long: Kind = Kind(batch=4, first=100, grow=0.5)
    picture_until: float = 0.2  # share of the time
    short_until: float = 0.4
    short_every: int = 4  # after that, one step in `short_every` is short
    rate: float = 1.0  # scale of all learning rates

    def further(self) -> Plan:
        """Return the plan for trained weights: longer clips sooner, lower rates."""
        return replace(self, picture_until=0.1, short_until=0.25, short_every=3, rate=0.5)

    def kind(self, share: float, steps: int) -> str:
        """Return the kind of the next step."""
        if share < self.picture_until:
            return "picture"
        return "short" if share < self.short_until or steps % self.short_every == 0 else "long"


def train(
    folder: Path,
    encode: Encode,
    minutes: float,
    plan: Plan,
    device: str = "cpu",
    seed: int = 0,
    compiled: bool = False,
    begin_with: Path | None = None,
) -> None:
    """Train until the time budget is spent; resumes from `folder/transformer.pt` if it exists.

    With `begin_with`, a model folder, its matching weights are copied, and words are not taught
    before pictures.
    """
    torch.manual_seed(seed)
    run = Run("transformer", folder, minutes * 60)
    networks = Networks()
    lesson = Run("captions", folder, CAPTIONS_SHARE * minutes * 60)
    run.seconds -= lesson.seconds
    if not (begin_with or run.state_file.exists()):
        teach(networks.captioner, networks.readers, lesson, seed)
    networks.to(device=device, dtype=weights_dtype(device))
    if begin_with and not run.state_file.exists():
        print(f"{networks.begin_with(begin_with)} tensors copied from {begin_with}", flush=True)
    plan = plan.further() if begin_with else plan
    optimizer = Optimizer(networks, _matrices(networks))
    if state := run.load():
        optimizer.load(state["optimizer"])
    rng = np.random.default_rng((seed, run.steps))
    step = Step(networks, rng, plan.blocks, compiled=compiled)
    means: dict[str, float] = {}
    for kind, clips in _batches(run, plan, encode, folder, seed):
        loss = step.loss(clips)
        loss.backward()
        optimizer.step(plan.rate * run.rate(cool=1.0))
        run.tick()
        value = float(loss.detach())
        means[kind] = 0.95 * means.get(kind, value) + 0.05 * value
        if run.steps % 25 == 0:
            run.log(**means)
        if run.due():
            run.save(optimizer=optimizer.state())


def _batches(
    run: Run, plan: Plan, encode: Encode, folder: Path, seed: int
) -> Iterator[tuple[str, list[LatentClip]]]:
    """Yield the clips of every step, chosen at random from growing pools."""
    rng = np.random.default_rng((seed, 1, run.steps))
    blocks = {"picture": 0, "short": 1, "long": plan.blocks}
    pools = {kind: ClipPool(encode, folder, count, seed) for kind, count in blocks.items()}
    while run.has_time:
        kind = plan.kind(run.share, run.steps)
        pool, wanted = pools[kind], getattr(plan, kind)
        while len(pool.clips) < wanted.first:
            pool.grow()
        for _ in range(int(wanted.grow + rng.random())):
            pool.grow()
        yield kind, pool.pick(wanted.batch, rng)


def _matrices(networks: Networks) -> list[str]:
    """Names of the matrices and kernels that Muon updates: no embeddings, tables or last layer."""
    out = ("table", "conv_depth", "embed_tokens", "proj_out", "readers")
    return [
        name
        for name, p in networks.named_parameters()
        if p.ndim >= 2 and not any(word in name for word in out)
    ]
