"""Muon for matrices and kernels, AdamW for the rest, with float32 master weights and an average.

Muon: the momentum of a matrix is replaced by its nearest orthogonal matrix, found by five
Newton-Schulz steps (Jordan et al., "Muon", 2024).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315


class Optimizer:
    """Optimizer with float32 master weights; `average` is their exponential moving average."""

    def __init__(
        self,
        module: nn.Module,
        muon: Iterable[str],
        muon_rate: float = 0.02,
        adam_rate: float = 2e-3,
        decay: float = 0.995,
    ) -> None:
        """`muon` names the parameters of two or more axes that Muon updates."""
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.master = {n: p.detach().float().clone() for n, p in self.parameters.items()}
        self.average = {n: p.clone() for n, p in self.master.items()}
        self.first = {n: torch.zeros_like(p) for n, p in self.master.items()}
        names = set(muon)
        self.second = {n: torch.zeros_like(p) for n, p in self.master.items() if n not in names}
        self.groups = _by_shape({n: self.master[n] for n in self.master if n in names})
        self.muon_rate, self.adam_rate, self.decay = muon_rate, adam_rate, decay
        self.steps = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Update at `scale` times the full rates, and clear gradients."""
        self.steps += 1
        grads = {
            n: torch.zeros_like(self.master[n]) if p.grad is None else p.grad.float()
            for n, p in self.parameters.items()
        }
        _clip(grads, 1.0)
        for names in self.groups:
            self._muon(names, grads, scale * self.muon_rate)
        self._adam(grads, scale * self.adam_rate)
        keep = min(self.decay, self.steps / (self.steps + 10))
        for name, parameter in self.parameters.items():
            parameter.copy_(self.master[name])
            parameter.grad = None
            self.average[name].lerp_(self.master[name], 1 - keep)

    def state(self) -> dict[str, Any]:
        """State that a resumed run needs."""
        keys = ("master", "average", "first", "second", "steps")
        return {key: getattr(self, key) for key in keys}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        for key in ("master", "average", "first", "second"):
            for name, tensor in getattr(self, key).items():
                tensor.copy_(state[key][name])
        self.steps = state["steps"]
        for name, parameter in self.parameters.items():
            parameter.copy_(self.master[name])

    def _muon(self, names: list[str], grads: dict[str, Tensor], rate: float) -> None:
        update = []
        for name in names:
            momentum = self.first[name].lerp_(grads[name], 0.05)
            update.append(_rows(grads[name].lerp(momentum, 0.95)))
        stacked = orthogonalised(torch.stack(update))
        rows, columns = stacked.shape[1:]
        rate *= max(1.0, rows / columns) ** 0.5
        for name, move in zip(names, stacked, strict=True):
            _rows(self.master[name]).mul_(1 - 0.01 * rate).sub_(move, alpha=rate)

    def _adam(self, grads: dict[str, Tensor], rate: float) -> None:
        bias1, bias2 = 1 - 0.9**self.steps, 1 - 0.98**self.steps
        for name, second in self.second.items():
            grad, first = grads[name], self.first[name]
            first.lerp_(grad, 0.1)
            second.lerp_(grad * grad, 0.02)
            self.master[name].addcdiv_(
                first / bias1, (second / bias2).sqrt_().add_(1e-8), value=-rate
            )


def averaged(state: dict[str, Any]) -> dict[str, Tensor]:
    """Averaged weights of a saved run."""
    return state["optimizer"]["average"]


def orthogonalised(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Compute the nearest matrices (n, rows, columns) whose singular values are all about 1.

    Every round multiplies by a polynomial of the Gram matrix. The rounds are accumulated on that
    small matrix, which needs two large products in all instead of two per round.
    """
    x = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).contiguous()
    gram = x @ x.mT
    whole = torch.eye(gram.shape[1], device=x.device, dtype=x.dtype).expand_as(gram)
    for _ in range(rounds):
        factor = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        factor.diagonal(dim1=1, dim2=2).add_(_A)
        whole = factor @ whole
        gram = factor @ factor @ gram
    x = whole @ x
    return x.mT if tall else x


def _rows(x: Tensor) -> Tensor:
    """View x as (rows, the rest) in memory order, which orthogonality does not depend on."""
    return x.flatten(1) if x.is_contiguous() else x.movedim(1, -1).flatten(1)


def _clip(grads: dict[str, Tensor], limit: float) -> None:
    norm = torch.stack([grad.norm() for grad in grads.values()]).norm()
    factor = limit / norm.clamp_min(limit)
    for grad in grads.values():
        grad.mul_(factor)


def _by_shape(parameters: dict[str, Tensor]) -> list[list[str]]:
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, parameter in parameters.items():
        groups[tuple(parameter.flatten(1).shape)].append(name)  # type: ignore[index]
    return list(groups.values())
