"""What a run shows on standard error as JSON: its plan, its progress, its notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from sana_stream._text import safe_text
from sana_stream.streaming.outputs.base import redact_url
from sana_stream.streaming.run.messages import unknown_words_note

from .console import PLAN_ROWS, UNKNOWN_ROWS, PlainReporter, headline, progress_line
from .log_format import JsonLog
from .process import MESSAGE_LIMIT

if TYPE_CHECKING:
    from sana_stream.streaming.run.plan import RunPlan
    from sana_stream.streaming.run.progress import Progress


class JsonReporter(PlainReporter):
    """Writes objects in place of lines; figures are fields of their own.

    Args:
        log: takes them.
        stream: the id of the stream on a server.
    """

    def __init__(self, log: JsonLog, stream: int | None = None) -> None:
        super().__init__(Console(stderr=True))
        self._log = log
        self._stream = stream

    def plan(self, plan: RunPlan, outputs: tuple[str, ...]) -> None:
        """Write what is about to be made, with the first 30 prompts and their seconds."""
        placed = [each for each in plan.placements if each.frame is not None]
        self._write(
            headline(plan),
            outputs=[redact_url(output) for output in outputs],
            frames=plan.frames,
            prompts=[
                {"seconds": plan.seconds_of(each.frame), "prompt": each.cue.prompt}
                for each in placed[:PLAN_ROWS]
                if each.frame is not None
            ],
        )
        prompts = dict.fromkeys(each.cue.prompt for each in plan.placements)
        unknown = (unknown_words_note(prompt, plan) for prompt in prompts)
        for line in [line for line in unknown if line][:UNKNOWN_ROWS]:
            self._write(line, "warning")

    def note(self, line: str) -> None:
        """Write one line."""
        self._write(line)

    def failed(self, line: str, error: BaseException) -> None:
        """Write why the run failed, with the class of the error."""
        self._write(line, "error", error=type(error).__name__)

    def _write_progress(self, progress: Progress) -> None:
        self._write(
            progress_line(progress),
            blocks=progress.blocks,
            frames=progress.frames,
            seconds=round(progress.seconds, 3),
            speed=round(progress.recent_speed / progress.fps, 3),
            memory_bytes=progress.memory_bytes,
            peak_memory_bytes=progress.peak_memory_bytes,
        )

    def _write(self, line: str, level: str = "info", **fields: object) -> None:
        self._log.message(safe_text(line, MESSAGE_LIMIT), level, stream=self._stream, **fields)
