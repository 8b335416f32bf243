"""Training of the evaluation's small networks, which see rendered frames only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def load_or_train(module: M, file: Path, train: Callable[[M], None]) -> M:
    """Load a module's weights from a file; train it and write the file if it does not exist."""
    if file.exists():
        module.load_state_dict(torch.load(file, weights_only=True))
        return module.eval()
    torch.manual_seed(0)
    train(module)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), file)
    return module.eval()


def fit(
    module: nn.Module,
    data: Tensor,
    loss_of: Callable[[Any, Tensor], Tensor],
    batch: int,
    rounds: int,
) -> None:
    """Train on augmented batches of `data` (n, 3, 64, 112).

    Args:
        module: called with a batch (batch, 3, 64, 112).
        data: as `probe.prepare` returns it.
        loss_of: computes the loss of what the module returned, and of the rows, int64 (batch,).
        batch: frames per step.
        rounds: how often each frame is seen, on average.
    """
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3, weight_decay=0.02)
    steps = rounds * len(data) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    for _ in range(steps):
        pick = torch.randint(len(data), (batch,))
        loss = loss_of(module.train()(augmented(data[pick])), pick)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def augmented(x: Tensor) -> Tensor:
    """Blur half of the batch; shift all of it in position and brightness, and add noise."""
    half = len(x) // 2
    small = F.interpolate(x[:half], scale_factor=float(np.random.choice((0.35, 0.5, 0.7))))
    soft = F.interpolate(small, x.shape[-2:], mode="bilinear")
    x = torch.cat((soft, x[half:]))
    x = x.roll(tuple(int(v) for v in np.random.randint(-3, 4, 2)), (2, 3))
    return x * (1 + 0.1 * torch.randn(len(x), 1, 1, 1)) + 0.03 * torch.randn_like(x)
