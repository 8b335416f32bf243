"""The films of the videos API: streams of a known length, kept by an id of their own."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Protocol

from sana_stream._clock import wall_time
from sana_stream._text import os_reason
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.job_queue import JobQueue, JobState, StreamJob
from sana_stream.streaming.web.registry import StreamRegistry

from .schema import Video, VideoError
from .video_index import KeptVideo, VideoIndex

logger = logging.getLogger(__name__)
_UNRECORDED = "the film was made, but could not be recorded: free space on the server's disk"
_ENDINGS = {
    JobState.CANCELLED: ("cancelled", "the film was cancelled"),
    JobState.FINISHED: ("not_recorded", _UNRECORDED),
}
_INTERRUPTED = ("interrupted", "the server ended before the film was complete: ask for it again")


class KeptRecordings(Protocol):
    """The recordings of a server's streams; methods may be called from any thread."""

    @property
    def folder(self) -> Path:
        """Where the files are."""
        ...

    def film(self, stream_id: int) -> Path | None:
        """The recording of a stream; None where there is none."""
        ...

    def discard(self, path: Path) -> None:
        """Remove the recording of a stream that does not run; raises OSError, ConfigError."""
        ...


class Videos:
    """The films of a server; methods may be called from any thread.

    Args:
        recordings: of its streams.
        jobs: its queue.
        streams: those that have begun.
    """

    def __init__(self, recordings: KeptRecordings, jobs: JobQueue, streams: StreamRegistry) -> None:
        self._recordings = recordings
        self._jobs = jobs
        self._streams = streams
        self._index = VideoIndex(recordings.folder)
        self._removed: set[int] = set()  # streams whose recording goes when they end
        for film in self._index.all():  # some have no file from which the queue knows their id
            jobs.reserve(film.stream)
        jobs.watch(self._end)

    def submit(
        self,
        fields: dict[str, object],
        facts: dict[str, str],
        *,
        picture: bytes | None = None,
        remixed_from: str | None = None,
        keep: bool = True,
    ) -> KeptVideo:
        """Queue a film.

        Args:
            fields: of its stream.
            facts: its `model`, `prompt`, `seconds` and `size`.
            picture: a PNG with which it begins.
            remixed_from: the film that it continues.
            keep: make it also when the server ends meanwhile.

        Raises:
            JobError, StoreError: as `JobQueue.submit`.
        """
        job = self._jobs.submit(fields, keep=keep, picture=picture)
        made = {"id": f"video_{secrets.token_hex(16)}", "created_at": int(wall_time())}
        made |= {"stream": job.id, "remixed_from": remixed_from}
        film = KeptVideo.model_validate(made | facts)
        self._index.put(film)
        job = self._job(film) or job
        if job.is_over:  # it ended before it was in the index
            self._end(job)
        return film

    def get(self, film_id: str) -> KeptVideo | None:
        """The film of an id, unless its recording was removed."""
        film = self._index.get(film_id)
        return None if film is None else self._current(film)

    def all(self) -> list[KeptVideo]:
        """Every film whose recording was not removed, oldest first."""
        return [film for each in self._index.all() if (film := self._current(each)) is not None]

    def path(self, film: KeptVideo) -> Path | None:
        """The recording of a whole film."""
        return None if film.file is None else self._recordings.folder / film.file

    def remove(self, film: KeptVideo) -> None:
        """Remove a film, with its recording; one that is not whole is cancelled.

        Raises:
            OSError, ConfigError: the recording cannot be removed; the film stays.
        """
        self._removed.add(film.stream)
        if not self._jobs.cancel(film.stream):
            self._removed.discard(film.stream)
            self._jobs.abandon(film.stream)
            self._discard(self.path(film) or self._recordings.film(film.stream))
        self._index.remove(film.id)

    def _discard(self, path: Path | None) -> None:
        if path is not None:
            self._recordings.discard(path)

    def describe(self, film: KeptVideo) -> Video:
        """A film as the API shows it."""
        job = None if film.is_over else self._job(film)
        running = job is not None and job.state is JobState.RUNNING
        status = "in_progress" if running else "queued"
        if film.is_over:
            status = "completed" if film.error is None else "failed"
        error = None
        if film.error is not None:
            error = VideoError(code=film.error_code or "failed", message=film.error)
        return Video(
            id=film.id,
            model=film.model,
            status=status,
            progress=self._progress(film),
            created_at=film.created_at,
            completed_at=film.completed_at,
            error=error,
            prompt=film.prompt,
            seconds=film.seconds,
            size=film.size,
            remixed_from_video_id=film.remixed_from,
            stream=film.stream,
        )

    def _progress(self, film: KeptVideo) -> int:
        """How much of a film is made, in percent."""
        if film.file is not None:
            return 100
        stream = self._streams.find(str(film.stream))
        if stream is None:
            return 0
        made = stream.status.snapshot()
        return min(99, int(100 * made.seconds / made.total_seconds)) if made.total_seconds else 0

    def _current(self, film: KeptVideo) -> KeptVideo | None:
        """A film as it is now; None where its recording was removed."""
        if not film.is_over and self._job(film) is None:
            return self._index.get(film.id) if self._settle(film, None) else None
        path = self.path(film)
        if path is not None and not path.exists():
            self._index.remove(film.id)
            return None
        return film

    def _job(self, film: KeptVideo) -> StreamJob | None:
        return next((job for job in self._jobs.jobs() if job.id == film.stream), None)

    def _end(self, job: StreamJob) -> None:
        """Take note of a stream that has ended; called by the queue."""
        if job.id in self._removed:
            self._removed.discard(job.id)
            try:
                self._discard(self._recordings.film(job.id))
            except (OSError, ConfigError) as error:
                logger.warning(
                    "stream %d was cancelled, its recording stays: %s", job.id, os_reason(error)
                )
        elif (film := self._index.of_stream(job.id)) is not None and not film.is_over:
            self._settle(film, job)

    def _settle(self, film: KeptVideo, job: StreamJob | None) -> bool:
        """Store how a film has ended; None: its job is not known any more."""
        now = {"completed_at": int(wall_time())}
        path = self._recordings.film(film.stream)
        if job is not None and job.state is JobState.FINISHED and path is not None:
            return self._index.replace(film.model_copy(update={**now, "file": path.name}))
        if job is None:
            code, message = _INTERRUPTED
        elif job.state is JobState.FAILED:
            code, message = "failed", job.message
        else:
            code, message = _ENDINGS[job.state]
        failed = {**now, "error_code": code, "error": message}
        return self._index.replace(film.model_copy(update=failed))
