"""Keeping a run's checkpoint beside its video, never ahead of what is safely in the files."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..models.errors import ConfigError, SanaStreamError
from .job import Job
from .options import is_live
from .written import Written

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.snapshot import Snapshot

SUFFIX = ".ckpt"


def checkpoint_path(outputs: Sequence[str]) -> Path | None:
    """The checkpoint's name: that of the first output on disk; None where there is none."""
    output = next((output for output in outputs if not is_live(output)), None)
    if output is None:
        return None
    path = Path(output)
    if "%" in path.name:  # a pattern of pictures: the folder's name
        return path.parent.with_suffix(SUFFIX) if path.parent.name else Path("frames" + SUFFIX)
    return path.with_suffix(SUFFIX)


class Checkpoints:
    """The checkpoint of one run, while this is entered.

    The newest snapshot whose video is on the disk is written after the first block, every so
    many seconds of the monotonic clock, and at the end; a video that is whole needs none. What
    cannot be written is told and does not end the run.

    Raises:
        ConfigError: the checkpoint of another video has the same name.
    """

    def __init__(self, job: Job, report: Callable[[str], None]) -> None:
        self._job = job
        self._report = report
        on_disk = (output for output in job.options.outputs if not is_live(output))
        self._outputs = [Written(output, job.kept) for output in on_disk]
        path = checkpoint_path(job.options.outputs)
        self._path = path if job.options.checkpoint_every else None
        if (
            self._path is not None
            and self._path.exists()
            and not (job.kept or job.options.overwrite)
        ):
            raise ConfigError(
                f"{self._path} exists, the checkpoint of an interrupted video: go on with that one"
                f" (sana-stream resume {shlex.quote(str(self._path))}), choose another name, or"
                " replace it with --overwrite"
            )
        self._whole = False
        self._written = -1  # frames
        self._told = False  # that a checkpoint could not be written
        self._reason = "no block is safely on the disk"
        self._due = time.monotonic()
        self._waiting: deque[tuple[int, Snapshot]] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sana-stream-checkpoint")
        self._writing: Future[None] | None = None
        self._engine: Engine | None = None
        self._kept: Callable[[], int] = lambda: 0

    def begin(self, engine: Engine, kept: Callable[[], int]) -> None:
        """The run is about to begin; `kept` tells how many frames every file has."""
        self._engine, self._kept = engine, kept
        if self._path is not None and not self._job.kept:
            self._path.unlink(missing_ok=True)  # of another video, which has been replaced

    def after(self, frames: int, snapshot: Snapshot) -> None:
        """The video has so many frames up to this snapshot, delivered or about to be."""
        if self._path is None:
            return
        self._waiting.append((frames, snapshot.light()))
        safe = self._safe()
        busy = self._writing is not None and not self._writing.done()
        if safe is not None and not busy and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._job.options.checkpoint_every
            self._writing = self._worker.submit(self._write, *safe)
            if self._alone():
                self._writing.result()

    def done(self) -> None:
        """The video is whole."""
        self._whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Once the outputs are closed: remove the checkpoint, or bring it up to date."""
        whole = self._whole and kind is None
        safe = self._safe()
        if safe is not None and (not whole or self._job.options.keep_checkpoint):
            self._worker.submit(self._write, *safe)
        self._worker.shutdown()
        if self._path is None or not self._waiting:
            return
        if whole and not self._job.options.keep_checkpoint:
            self._remove()
        elif not whole and self._written >= 0:
            video = shlex.quote(next(out for out in self._job.options.outputs if not is_live(out)))
            self._report(f"go on with it: sana-stream resume {video}")
            if self._told:
                self._report(f"it goes on from frame {self._written}: {self._reason}")
        elif not whole:
            self._report(f"there is no checkpoint to go on from: {self._reason}")

    def _alone(self) -> bool:
        from ..engine.device import one_thread_alone

        return self._engine is not None and one_thread_alone(self._engine.device)

    def _remove(self) -> None:
        assert self._path is not None
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._report(f"{self._path} cannot be removed ({reason}); the video is whole")

    def _safe(self) -> tuple[int, Snapshot] | None:
        """The newest snapshot that is no further than the files; older ones are forgotten."""
        kept = self._kept()
        while len(self._waiting) > 1 and self._waiting[1][0] <= kept:
            self._waiting.popleft()
        if self._waiting and self._waiting[0][0] <= kept:
            return self._waiting[0]
        return None

    def _write(self, frames: int, snapshot: Snapshot) -> None:
        from ..engine.snapshot_file import save_snapshot

        assert self._path is not None
        assert self._engine is not None
        if frames <= self._written:
            return
        try:
            for output in self._outputs:
                output.sync(frames)
            extra = {"run": self._job.to_json(), "kept": frames}
            save_snapshot(self._path, snapshot, self._engine, extra)
        except (OSError, SanaStreamError) as error:
            if not self._told:
                self._report(f"{error}; the run goes on without a new checkpoint")
            self._told, self._reason = True, str(error)
        else:
            self._written, self._told = frames, False
