"""The progress bar of the executing node; its hook is called with each update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Hook = Callable[[float, float, Any], None]
PROGRESS_BAR_HOOK: Hook | None = None


def set_progress_bar_global_hook(function: Hook) -> None:
    global PROGRESS_BAR_HOOK
    PROGRESS_BAR_HOOK = function


class ProgressBar:
    def __init__(self, total: float, node_id: str | None = None) -> None:
        self.total, self.hook = total, PROGRESS_BAR_HOOK

    def update_absolute(
        self, value: float, total: float | None = None, preview: Any = None
    ) -> None:
        self.total = self.total if total is None else total
        if self.hook is not None:
            self.hook(min(value, self.total), self.total, preview)
