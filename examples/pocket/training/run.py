"""A training run: a time budget, a log, and a saved state from which it resumes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass
class Run:
    """Time budget over all restarts; `name.pt` holds the state, `name.log` the log.

    On a CPU the budget is processor time per thread, so that a busy machine makes training take
    longer, not fewer steps.
    """

    name: str
    folder: Path
    seconds: float  # budget
    save_every: float = 120.0
    spent: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._last, self._saved = _now(), time.monotonic()

    @property
    def state_file(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def share(self) -> float:
        """Spent share of the budget, 0 to 1."""
        return min(1.0, self.spent / self.seconds)

    @property
    def has_time(self) -> bool:
        return self.spent < self.seconds

    def rate(self, warm: float = 0.01, cool: float = 0.35, floor: float = 0.03) -> float:
        """Scale of the learning rates: warm-up, constant, then a linear decrease to `floor`."""
        return max(floor, min(1.0, self.share / warm + 0.02, (1 - self.share) / cool))

    def tick(self) -> None:
        """Count one step and its time."""
        now = _now()
        self.spent += now - self._last
        self._last = now
        self.steps += 1

    def due(self) -> bool:
        """Whether the state must be saved now."""
        return time.monotonic() - self._saved > self.save_every or not self.has_time

    def save(self, **parts: Any) -> None:
        """Write the state atomically, so that a kill leaves the old or the new one."""
        partial = self.state_file.with_suffix(".part")
        torch.save({"spent": self.spent, "steps": self.steps, **parts}, partial)
        os.replace(partial, self.state_file)
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Load the saved state, if there is one, with its spent time."""
        if not self.state_file.exists():
            return None
        state = torch.load(self.state_file, weights_only=False)
        self.spent, self.steps = state["spent"], state["steps"]
        return state

    def log(self, **values: float) -> None:
        """Write a line to standard output and to the log file."""
        left = max(0.0, self.seconds - self.spent) / 60
        figures = "  ".join(f"{key} {value:.4f}" for key, value in values.items())
        line = (
            f"{self.name}  step {self.steps}  {self.spent / 60:.1f} min, {left:.1f} left  {figures}"
        )
        print(line, flush=True)
        with (self.folder / f"{self.name}.log").open("a") as log:
            log.write(line + "\n")


def _now() -> float:
    if torch.cuda.is_initialized():
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()
