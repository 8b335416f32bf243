"""How a run is printed and how a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.engine.notebook import figure, paragraph
from sana_stream.engine.story.story import format_time
from sana_stream.streaming.outputs.base import redact_url

from .messages import format_bytes

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

    from .config import RunConfig
    from .progress import Progress


class DisplayedRun:
    """What a run is printed from; a notebook shows its progress, last frame, prompt and outputs."""

    config: RunConfig
    progress: Progress
    block: Block | None

    def __repr__(self) -> str:
        return f"Run({', '.join(self._facts())})"

    def _repr_html_(self) -> str:
        progress, bar = self.progress, ""
        if progress.total_frames is not None:
            done = f'value="{progress.frames}" max="{progress.total_frames}"'
            bar = f'<progress {done} style="width: 100%; max-width: 480px"></progress>'
        if self.block is None:
            return f"<div>{bar}{paragraph(self._facts())}</div>"
        last = figure(self.block.frames[-1:], progress.fps, progress.prompt, self._facts())
        return f"<div>{bar}{last}</div>"

    def _facts(self) -> list[str]:
        """How far it is, how fast, and where its video goes, without secrets of URLs."""
        progress = self.progress
        total, blocks, speed = progress.total_seconds, progress.total_blocks, progress.recent_speed
        of_time = "" if total is None else f" of {format_time(total)}"
        of_blocks = "" if blocks is None else f" of {blocks}"
        facts = [f"{format_time(progress.seconds)}{of_time}", f"block {progress.blocks}{of_blocks}"]
        if speed:
            facts.append(f"{speed:.1f} frames/s ({speed / progress.fps:.2f}x real time)")
            facts.append(f"memory {format_bytes(progress.memory_bytes)}")
        return [*facts, *(f"to {safe_text(redact_url(name))}" for name in self.config.targets)]
