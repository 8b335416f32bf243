"""The text that marks everything a run writes with the id of the run."""

from __future__ import annotations

ANONYMOUS = "0" * 16  # the id in outputs of callers that give none
_MARK = "sana-stream-run:"


def run_mark(run: str) -> str:
    """The text that marks a file with a run's id, which has 16 hexadecimal digits."""
    return _MARK + run
