"""Muon's orthogonalization, and resuming the optimizer from its state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.optimizer import Optimizer, orthogonalised


@pytest.mark.parametrize("shape", [(3, 12, 20), (2, 24, 8), (1, 16, 16)], ids=str)
def test_orthogonalised_equals_published_iteration(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    found = orthogonalised(matrices)
    torch.testing.assert_close(found, _published(matrices), rtol=1e-3, atol=1e-3)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_resumed_optimizer_equals_uninterrupted_one() -> None:
    whole, halves = _layer(), _layer()
    optimizer = Optimizer(whole, ["0.weight"])
    for seed in range(6):
        _step(whole, optimizer, seed)
    first = Optimizer(halves, ["0.weight"])
    for seed in range(3):
        _step(halves, first, seed)
    fresh = _layer()
    second = Optimizer(fresh, ["0.weight"])
    second.load(first.state())
    for seed in range(3, 6):
        _step(fresh, second, seed)
    for name, tensor in second.average.items():
        torch.testing.assert_close(tensor, optimizer.average[name])
    for one, other in zip(fresh.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def _published(matrices: Tensor) -> Tensor:
    """Run five rounds as published by Jordan et al.: X <- aX + (bA + cA^2) X, A = X X^T."""
    out = []
    for matrix in matrices:
        x = matrix / matrix.norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        out.append(x)
    return torch.stack(out)


def _layer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


def _step(module: nn.Module, optimizer: Optimizer, seed: int) -> None:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
    module(x).square().mean().backward()
    optimizer.step(1.0)
