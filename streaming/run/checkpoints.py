"""The checkpoint of a run, next to its video and never ahead of what is on the disk."""

from __future__ import annotations

import logging
import re
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sana_stream._files import sync_file
from sana_stream._text import os_reason
from sana_stream.streaming.outputs.existing_files import may_write
from sana_stream.streaming.outputs.targets import is_image_pattern, is_live, is_video_file

from .checkpoint_files import check_replaceable, checkpoint_path
from .messages import one_line
from .plan import RunPlan
from .stored import run_to_json

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.snapshot.snapshot import Snapshot
    from sana_stream.streaming.outputs.locks import OutputLocks

logger = logging.getLogger(__name__)


class OutputSync:
    """Brings to the disk what one output has written since the last call.

    An output is a video file, or several consecutive ones, each with its captions; a sequence of
    PNG files; or a playlist, whose segments are on the disk before it names them.

    Args:
        output: its name, as given.
        frames: how many frames are on the disk already.
        segmented: whether a video is split into several files.
    """

    def __init__(self, output: str, frames: int, segmented: bool = False) -> None:
        self._path = Path(output)
        self._is_pattern = is_image_pattern(output)
        self._segmented = segmented and is_video_file(output)
        self._frames = frames
        self._part = 0  # number of the last file of several

    def sync(self, frames: int) -> None:
        """Wait until the output's first `frames` frames are on the disk; raises OSError."""
        for file in self._pictures(frames) if self._is_pattern else self._files():
            sync_file(file)
        self._frames = frames

    def _pictures(self, frames: int) -> Iterator[Path]:
        for number in range(self._frames, frames):
            yield self._path.with_name(self._path.name % number)

    def _files(self) -> Iterator[Path]:
        for video in self._segments() if self._segmented else (self._path,):
            yield video
            for captions in (video.with_suffix(".vtt"), video.with_name(f"{video.name}.vtt")):
                if captions.exists():
                    yield captions

    def _segments(self) -> list[Path]:
        """The files from the last one that existed before."""
        stem, suffix = self._path.stem, self._path.suffix
        found = {
            int(match[1]): path
            for path in self._path.parent.glob(f"{escape(stem)}-[0-9]*{escape(suffix)}")
            if (match := re.fullmatch(r"-(\d{4,})", path.stem.removeprefix(stem)))
            and path.is_file()
        }
        later = [path for number, path in sorted(found.items()) if number >= self._part]
        self._part = max(found, default=0)
        return later


class Checkpoints:
    """The checkpoint of one run, while this is entered.

    The newest snapshot whose video is on the disk is written after the first block, every
    `checkpoint_every` seconds of the monotonic clock, and at the end. A complete video needs none.
    A failure to write one is logged and does not end the run.

    Raises:
        ConfigError: the checkpoint of another video, or a foreign file, has the same name.
    """

    def __init__(self, plan: RunPlan, locks: OutputLocks) -> None:
        config, resumed = plan.config, plan.origin.frames
        self._plan = plan
        on_disk = (output for output in config.targets if not is_live(output))
        self._outputs = [
            OutputSync(output, resumed, config.segment is not None) for output in on_disk
        ]
        self._locks = locks
        path = checkpoint_path(config.targets)
        self._path = path if config.checkpoint else None
        if self._path is not None and not resumed:
            check_replaceable(self._path, config)
        self._begun = bool(resumed)
        self._whole = False
        self._written = -1  # frames
        self._failed = False  # the last attempt, so that it is reported once
        self._reason = "no block is safely on the disk"
        self._due = time.monotonic()
        self._waiting: deque[tuple[int, Snapshot, RunPlan]] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sana-stream-checkpoint")
        self._writing: Future[None] | None = None
        self._engine: Engine | None = None
        self._kept: Callable[[], int | None] = lambda: 0

    def begin(self, engine: Engine, kept: Callable[[], int | None]) -> None:
        """Lock the checkpoint; `kept` returns how many frames every file has.

        None: the files get no more frames, so that there are no more checkpoints.

        Raises:
            InvalidOutputError: another run is writing the checkpoint.
        """
        self._engine, self._kept = engine, kept
        if self._path is None:
            return
        if may_write(self._path.parent):
            self._locks.acquire(self._path)
        else:
            logger.warning(
                "%s: its folder cannot be written, so there is no checkpoint", self._path
            )
            self._path = None

    def on_block(self, frames: int, snapshot: Snapshot, plan: RunPlan | None = None) -> None:
        """Take the snapshot after the video's first `frames` frames, which may still be queued.

        Args:
            frames: of the video.
            snapshot: after them.
            plan: of the run, whose story may have changed since it began.
        """
        if self._path is None:
            return
        if not self._begun:
            self._begun = True
            self._remove("")  # of the video that this one replaces
        if self._kept() is None:
            self._waiting.clear()
            return
        if plan is not None:
            self._plan = replace(self._plan, story=plan.story, config=plan.config)
        self._waiting.append((frames, snapshot, self._plan))
        safe = self._safe()
        busy = self._writing is not None and not self._writing.done()
        if safe is not None and not busy and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._plan.config.checkpoint_every
            self._writing = self._worker.submit(self._write, *safe)
            if self._is_single_threaded():
                self._writing.result()

    def finish(self) -> None:
        """Record that the video is complete."""
        self._whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the checkpoint or update it; to be called once the outputs are closed."""
        whole = self._whole and kind is None
        safe = self._safe()
        if safe is not None and (not whole or self._plan.config.keep_checkpoint):
            self._worker.submit(self._write, *safe)
        self._worker.shutdown()
        if self._path is None or self._engine is None or not self._begun:
            return
        if whole and not self._plan.config.keep_checkpoint:
            self._remove("; the video is whole")
        elif not whole:
            self._report_end(self._path)

    def _report_end(self, path: Path) -> None:
        """Log how an incomplete video can be resumed, or that it cannot."""
        if path.exists():
            video = shlex.quote(next(out for out in self._plan.config.targets if not is_live(out)))
            logger.info("resume it with: sana-stream resume %s", video)
            if self._failed:
                frame = max(self._written, 0)
                logger.warning("it can be resumed from frame %d: %s", frame, self._reason)
        elif self._waiting:
            logger.warning("there is no checkpoint to resume from: %s", self._reason)

    def _is_single_threaded(self) -> bool:
        from sana_stream.engine.device import is_single_threaded

        return self._engine is not None and is_single_threaded(self._engine.device)

    def _remove(self, more: str) -> None:
        assert self._path is not None
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s cannot be removed (%s)%s", self._path, os_reason(error), more)

    def _safe(self) -> tuple[int, Snapshot, RunPlan] | None:
        """The newest snapshot that is no further than the files; older ones are dropped."""
        if (kept := self._kept()) is None:
            return None
        while len(self._waiting) > 1 and self._waiting[1][0] <= kept:
            self._waiting.popleft()
        if self._waiting and self._waiting[0][0] <= kept:
            return self._waiting[0]
        return None

    def _write(self, frames: int, snapshot: Snapshot, plan: RunPlan) -> None:
        from sana_stream.engine.snapshot.file import save_snapshot

        assert self._path is not None
        assert self._engine is not None
        if frames <= self._written:
            return
        try:
            for output in self._outputs:
                output.sync(frames)
            extra = {"run": run_to_json(plan), "kept": frames}
            save_snapshot(self._path, snapshot, self._engine, extra)
        except Exception as error:  # of any kind: no caller sees what fails in this thread
            if not self._failed:
                logger.warning("%s; the run continues without a new checkpoint", one_line(error))
            self._failed, self._reason = True, one_line(error)
        else:
            self._written, self._failed = frames, False
