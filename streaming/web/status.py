"""The state of a stream, for the web page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

from sana_stream.streaming.video_format import VideoFormat

from .thumbnails import Thumbnails

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


_CUES_KEPT = 500
_CHARACTERS_KEPT = 1 << 16  # of their prompts: every viewer fetches them every second


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A prompt and the frame from which it is shown."""

    start: int
    prompt: str
    transition_blocks: int = 0  # over which it is blended in


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """The state of a run at one moment; times in seconds of video, memory in bytes."""

    state: Literal["starting", "running", "paused", "finished"]  # paused: in /status only
    title: str
    fps: float
    width: int
    height: int
    seed: int | None
    total_seconds: float | None  # None: endless
    seconds: float  # generated so far
    blocks: int
    speed: float  # of the last blocks, relative to real time
    memory_bytes: int
    peak_memory_bytes: int
    shown: tuple[ShownPrompt, ...]  # up to the prompt of the newest block
    coming: tuple[ShownPrompt, ...]  # the rest of the story
    notice: str  # a sentence for viewers
    guidance: float  # 1: none, so that a negative prompt has no effect
    history_seconds: float  # that a rewind can go back
    left_out: tuple[tuple[int, int], ...]  # first frames and ends of what was rewound
    block_seconds: float | None  # between two blocks, measured; None before the second one
    since_block_seconds: float  # since the last block, or since the beginning
    thumbnails: tuple[int, ...]  # first frames of the blocks that have one
    thumbnail_version: str  # for the address


class StatusObserver(Protocol):
    """Counts what a run makes; methods are called from any of its threads."""

    def on_block(self, block: Block, seconds: float) -> None:
        """Count a finished block, which plays for `seconds` seconds."""
        ...

    def on_stage(self, stage: str, seconds: float) -> None:
        """Count seconds that were spent in a stage of delivery."""
        ...

    def on_late(self) -> None:
        """Count a block that was finished after everything before it had been played."""
        ...

    def on_finish(self) -> None:
        """Count the end of the run."""
        ...


class RunStatus:
    """The state of a run, updated by the run and read from any thread.

    Keeps the last 500 changes of prompt, with at most 65536 characters.

    Attributes:
        observer: is called with what the run makes; None: nothing counts it.
    """

    def __init__(
        self,
        video: VideoFormat,
        title: str = "",
        seed: int | None = None,
        total_frames: int | None = None,
        story: Sequence[ShownPrompt] = (),
        history_seconds: float = 0.0,
        guidance: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.observer: StatusObserver | None = None
        self._lock = Lock()
        self._video = video
        self._title = title
        self._seed = seed
        self._total_frames = total_frames
        self._coming = tuple(story)
        self._shown: deque[ShownPrompt] = deque(maxlen=_CUES_KEPT)
        self._recent: deque[tuple[int, float]] = deque(maxlen=4)  # frames, seconds of generation
        self._frames = self._blocks = self._memory = self._peak = 0
        self._finished = False
        self._notice = ""
        self._history, self._guidance = history_seconds, guidance
        self._left_out: tuple[tuple[int, int], ...] = ()
        self._clock = clock
        self._block_at = clock()
        self._intervals: deque[float] = deque(maxlen=5)
        self.thumbnails = Thumbnails()

    def add_earlier(self, prompts: Iterable[ShownPrompt]) -> None:
        """List what the video shows before the first block of this run."""
        with self._lock:
            for shown in prompts:
                self._add_shown(shown)

    def on_block(self, block: Block) -> None:
        """Update the state with a finished block."""
        with self._lock:
            self._frames = block.start + len(block.frames)
            self._blocks += 1
            self._recent.append((len(block.frames), block.stats.total_seconds))
            now = self._clock()
            if self._blocks > 1:
                self._intervals.append(now - self._block_at)
            self._block_at = now
            self._memory = block.stats.memory_bytes
            self._peak = block.stats.peak_memory_bytes
            if not self._shown or self._shown[-1].prompt != block.prompt:
                self._add_shown(ShownPrompt(block.start, block.prompt))
            self._coming = tuple(cue for cue in self._coming if cue.start >= self._frames)
        self.thumbnails.add(block.start, block.frames)
        if self.observer is not None:
            self.observer.on_block(block, self._video.seconds(len(block.frames)))

    def on_stage(self, stage: str, seconds: float) -> None:
        """Record seconds that were spent in a stage of delivery, `encode` or `record`."""
        if self.observer is not None:
            self.observer.on_stage(stage, seconds)

    def on_late(self) -> None:
        """Record that a block was finished after everything before it had been played."""
        if self.observer is not None:
            self.observer.on_late()

    def on_rewind(self, left_out: tuple[tuple[int, int], ...]) -> None:
        """Set the parts of the video that the stream has left by rewinding."""
        with self._lock:
            self._left_out = left_out

    def _add_shown(self, shown: ShownPrompt) -> None:
        self._shown.append(shown)
        while len(self._shown) > 1 and sum(len(c.prompt) for c in self._shown) > _CHARACTERS_KEPT:
            self._shown.popleft()

    def plan(self, story: Sequence[ShownPrompt]) -> None:
        """Replace the prompts that are still to come."""
        with self._lock:
            self._coming = tuple(
                cue for cue in story if cue.start >= self._frames and not self._continues(cue)
            )

    def _continues(self, cue: ShownPrompt) -> bool:
        """Whether the next block has this prompt only because the last one has it."""
        return (
            cue.start == self._frames and bool(self._shown) and self._shown[-1].prompt == cue.prompt
        )

    def reseed(self, seed: int) -> None:
        """Set the seed of further blocks."""
        with self._lock:
            self._seed = seed

    def set_notice(self, notice: str) -> None:
        """Show a sentence to viewers, until the next one."""
        with self._lock:
            self._notice = notice

    def finish(self) -> None:
        """Set the state to finished."""
        with self._lock:
            was_finished, self._finished = self._finished, True
        if self.observer is not None and not was_finished:
            self.observer.on_finish()

    @property
    def title(self) -> str:
        """The title of the stream."""
        return self._title

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self._finished

    def snapshot(self) -> StatusSnapshot:
        """The current state."""
        with self._lock:
            return StatusSnapshot(
                state="finished" if self._finished else "running" if self._blocks else "starting",
                title=self._title,
                fps=float(self._video.rate),
                width=self._video.width,
                height=self._video.height,
                seed=self._seed,
                total_seconds=self._total_seconds(),
                seconds=self._video.seconds(self._frames),
                blocks=self._blocks,
                speed=self._speed(),
                memory_bytes=self._memory,
                peak_memory_bytes=self._peak,
                shown=tuple(self._shown),
                coming=self._coming,
                notice=self._notice,
                guidance=self._guidance,
                history_seconds=self._history,
                left_out=self._left_out,
                block_seconds=median(self._intervals) if self._intervals else None,
                since_block_seconds=self._clock() - self._block_at,
                thumbnails=self.thumbnails.starts,
                thumbnail_version=self.thumbnails.version,
            )

    def _total_seconds(self) -> float | None:
        return None if self._total_frames is None else self._video.seconds(self._total_frames)

    def _speed(self) -> float:
        seconds = sum(taken for _, taken in self._recent)
        frames = sum(count for count, _ in self._recent)
        return self._video.seconds(frames) / seconds if seconds else 0.0
