"""What jobs begin with: the pictures that clients send, and the checkpoints of branches."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sana_stream._files import atomic_write
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import BranchError, JobError, SnapshotError, StoreError
from sana_stream.streaming.control.job_queue import StreamJob
from sana_stream.streaming.control.stream_request import BranchPoint
from sana_stream.streaming.run.checkpoint_files import checkpoint_of
from sana_stream.streaming.run.disk_space import SPARE_TEXT, is_full
from sana_stream.streaming.run.recordings import (
    START_PICTURE_SUFFIX,
    START_SUFFIX,
    Recordings,
)
from sana_stream.streaming.run.resume import read_checkpoint
from sana_stream.streaming.run.runner import Run
from sana_stream.streaming.stream_name import stream_name


class JobStarts:
    """The pictures and the checkpoints with which streams begin, next to the recordings.

    Methods may be called from any thread.

    Args:
        recordings: of the streams.
        running: returns the run of a stream; None where it does not run.
        fps: of a stream whose client asks for no other rate.
    """

    def __init__(
        self, recordings: Recordings, running: Callable[[int], Run | None], fps: float
    ) -> None:
        self._recordings = recordings
        self._running = running
        self._fps = fps

    def checkpoint(self, stream_id: int) -> Path:
        """The checkpoint with which a branch begins."""
        return self._recordings.folder / stream_name(stream_id, START_SUFFIX)

    def picture(self, stream_id: int) -> Path:
        """The picture with which a stream begins."""
        return self._recordings.folder / stream_name(stream_id, START_PICTURE_SUFFIX)

    def save_picture(self, job: StreamJob, picture: bytes) -> None:
        """Keep the picture with which a job begins; raises StoreError."""
        path = self.picture(job.id)
        try:
            self._make_room()
            atomic_write(path, picture)
        except OSError as error:
            raise StoreError(f"{safe_text(path)}: {os_reason(error)}; try again later") from error

    def _make_room(self) -> None:
        """Create the folder; raises OSError, or StoreError where the disk is full."""
        self._recordings.folder.mkdir(0o700, parents=True, exist_ok=True)
        if is_full(self._recordings.folder):
            raise StoreError(f"less than {SPARE_TEXT} are free on the disk; try again later")

    def save_moment(self, job: StreamJob, point: BranchPoint) -> StreamJob:
        """Save the moment at which a job begins, and return the job with it.

        A running stream has the moments between its blocks as far back as its history reaches, of
        which the last one at or before the requested time is taken. One that has ended has its end.

        `remove` is to be called also after an error.

        Raises:
            BranchError: the stream has no such moment.
            StoreError: it cannot be saved now.
        """
        path = self.checkpoint(job.id)
        try:
            self._make_room()
            run = self._running(point.stream)
            seconds = (
                self._copy(path, point) if run is None else run.moments.save(path, point.seconds)
            )
        except (JobError, SnapshotError) as error:
            raise BranchError(f"stream {point.stream}: {error}", "branch_from") from error
        except OSError as error:
            raise StoreError(f"{safe_text(path)}: {os_reason(error)}; try again later") from error
        found = point.model_copy(update={"seconds": seconds})
        return replace(job, request=job.request.model_copy(update={"branch_from": found}))

    def remove(self, job: StreamJob) -> None:
        """Remove what a job began with; never raises."""
        for given, path in (
            (job.request.branch_from is not None, self.checkpoint(job.id)),
            (job.has_picture, self.picture(job.id)),
        ):
            if given:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _copy(self, path: Path, point: BranchPoint) -> float:
        """Save the end of a stream that has ended; returns it in seconds."""
        film = self._recordings.film(point.stream)
        own = None if film is None else checkpoint_of(film)
        if own is None:
            raise BranchError(
                "no checkpoint of it is kept: give a stream that runs, or whose recording is listed"
            )
        saved, stored = read_checkpoint(own)
        frames = saved.header.extra.get("kept")
        if stored is None or not frames:
            raise BranchError("its checkpoint is of no video")
        fps = float(stored.config.fps or self._fps)
        if point.seconds is not None and round(point.seconds * fps) < frames:
            raise BranchError(
                f"it has ended and can be branched at its end, {frames / fps:g} s: leave seconds"
                " out"
            )
        path.unlink(missing_ok=True)
        try:
            os.link(own, path)  # checkpoints are replaced, never changed
        except OSError:  # a file system without links
            shutil.copyfile(own, path)
        return frames / fps
