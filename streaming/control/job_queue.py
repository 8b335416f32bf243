"""The streams that clients have requested of a server: some run, the others are queued."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Condition, Event
from typing import Protocol

from sana_stream._text import safe_text
from sana_stream.errors import JobError, QueueFullError

from .live_control import LiveControl
from .stream_request import StreamRequest, parse_stream_request

WAITING_LIMIT = 16  # jobs
_ENDED_KEPT = 32  # ended jobs that are still listed
_MESSAGE = 400  # characters of an error


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StreamJob:
    """A requested stream."""

    id: int
    request: StreamRequest
    state: JobState = JobState.QUEUED
    message: str = ""  # why it failed
    has_picture: bool = False  # it begins with a picture that the client has sent

    @property
    def is_over(self) -> bool:
        """Whether it is neither queued nor running."""
        return self.state not in (JobState.QUEUED, JobState.RUNNING)


class JobStore(Protocol):
    """Keeps the jobs that have not ended, for the next start of the server."""

    def save(self, job: StreamJob) -> None:
        """Keep a queued job; raises StoreError."""
        ...

    def remove(self, job: StreamJob) -> None:
        """Forget a job that has ended; returns at once and never raises."""
        ...

    def control(self, job: StreamJob) -> LiveControl:
        """The control of a job that begins."""
        ...


class JobPreparation(Protocol):
    """Checks jobs, and keeps the files that they begin with."""

    def check(self, job: StreamJob) -> None:
        """Check a job before it gets its id; raises ValueError with the reason for a refusal."""
        ...

    def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
        """Keep what a job begins with.

        Args:
            job: with its id.
            picture: a PNG, where it begins with one.

        Returns:
            The job with the moment that a branch begins at.

        Raises:
            ValueError: as `check`.
            StoreError: it cannot be kept now.
        """
        ...

    def discard(self, job: StreamJob) -> None:
        """Remove what a job began with that is over, or that `prepare` or the store has refused.

        Returns at once and never raises.
        """
        ...


class _NoPreparation:
    def check(self, job: StreamJob) -> None:
        pass

    def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
        return job

    def discard(self, job: StreamJob) -> None:
        pass


class JobQueue:
    """A queue of jobs between the web server and the runs.

    Holds at most 16 queued jobs and the last 32 ended ones. Ids ascend.

    Args:
        preparation: of each job before it is queued; None: every job is taken.
        first: the id of the first job.
        store: keeps the jobs, or None.
        forgotten: called with the id of each ended job that is no longer listed.

    Attributes:
        ended: how many jobs ended, by state.
    """

    def __init__(
        self,
        preparation: JobPreparation | None = None,
        first: int = 1,
        store: JobStore | None = None,
        forgotten: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._preparation = preparation or _NoPreparation()
        self._changed = Condition()
        self._jobs: dict[int, StreamJob] = {}
        self._controls: dict[int, LiveControl] = {}  # of running jobs
        self._interrupted: set[int] = set()
        self._unkept: set[int] = set()  # jobs that end with the server
        self._next_id = first
        self._store = store
        self._forgotten = forgotten
        self._left: dict[int, StreamJob] = {}  # failed jobs that the store keeps
        self._preparing = 0  # jobs that have an id and are not queued yet; they count as queued
        self._watchers: list[Callable[[StreamJob], None]] = []
        self._closed = False
        self.ended: Counter[JobState] = Counter()

    def submit(
        self, fields: object, *, keep: bool = True, picture: bytes | None = None
    ) -> StreamJob:
        """Queue a job from the fields of a JSON object, those of a `StreamRequest`.

        Args:
            fields: the JSON object.
            keep: continue the stream at the next start of the server. Otherwise it is cancelled
                when the server ends, as a stream whose only client is connected.
            picture: a PNG with which the video begins.

        Raises:
            JobError: a field is missing or wrong, the job is refused, or the queue is full.
            StoreError: the job cannot be kept.
        """
        request = parse_stream_request(fields)
        job = StreamJob(self._next_id, request, has_picture=picture is not None)
        self._require_room()
        with _refusals():
            self._preparation.check(job)
        with self._changed:
            self._require_room()
            job = replace(job, id=self._next_id)
            self._next_id += 1
            self._preparing += 1
        try:
            with _refusals():
                job = self._preparation.prepare(job, picture)
            if keep and self._store is not None:
                self._store.save(job)  # without the lock: it may take long
        except BaseException:
            with self._changed:
                self._preparing -= 1
            self._preparation.discard(job)
            raise
        with self._changed:
            self._preparing -= 1
            if not keep:
                self._unkept.add(job.id)
            self._add(job)
            if self._closed and not keep:  # `interrupt` came meanwhile
                self.cancel(job.id)
        return job

    def reserve(self, stream_id: int) -> None:
        """Give further jobs ids above this one."""
        with self._changed:
            self._next_id = max(self._next_id, stream_id + 1)

    def restore(self, jobs: Iterable[StreamJob]) -> None:
        """Queue jobs of an earlier server, which keep their ids, whatever the limit."""
        with self._changed:
            for job in jobs:
                self._add(replace(job, state=JobState.QUEUED))

    def next(
        self, stop: Event, claim: Callable[[StreamJob], bool] = lambda _: True
    ) -> tuple[StreamJob, LiveControl] | None:
        """Wait for the next job and set it to running; None when the server is to stop.

        Args:
            stop: set when the server is to stop.
            claim: returns whether the next job may begin now.

        Returns:
            The job, and the control that directs its stream.
        """
        with self._changed:
            while not stop.is_set():
                waiting = self._waiting()
                if waiting and waiting[0].id not in self._controls and claim(waiting[0]):
                    job = replace(waiting[0], state=JobState.RUNNING)
                    store = self._store
                    control = LiveControl() if store is None else store.control(job)
                    self._jobs[job.id], self._controls[job.id] = job, control
                    return job, control
                self._changed.wait(0.2)
        return None

    def end(self, job: StreamJob, error: str = "", keep: bool = False) -> None:
        """Set a job to finished, or to failed with an error.

        One that `interrupt` has ended is queued again, for the next start of the server.

        Args:
            job: a running one.
            error: why it failed; empty: it did not.
            keep: keep a failed job in the store.
        """
        with self._changed:
            before = self._jobs.get(job.id, job)
            del self._controls[job.id]
            if error:
                message = safe_text(error, _MESSAGE)
                self._jobs[job.id] = replace(before, state=JobState.FAILED, message=message)
            elif job.id in self._interrupted:
                self._jobs[job.id] = replace(before, state=JobState.QUEUED)
                return
            elif before.state is JobState.RUNNING:
                self._jobs[job.id] = replace(before, state=JobState.FINISHED)
            self._over(before, keep)

    def settle(self, job: StreamJob, complete: bool) -> bool:
        """Decide whether a stream that makes no more blocks is over.

        Args:
            job: a running one.
            complete: whether its video has its whole length.

        Returns:
            False where `interrupt` has ended it, so that the next server resumes it.
        """
        with self._changed:
            if complete:
                self._interrupted.discard(job.id)
            over = job.id not in self._interrupted
            if over:
                self._controls[job.id].end()
            return over

    def cancel(self, stream_id: int) -> bool:
        """Cancel a queued job, or end a running one; False if there is neither."""
        with self._changed:
            job = self._jobs.get(stream_id)
            if job is None or job.is_over:
                return False
            self._jobs[stream_id] = replace(job, state=JobState.CANCELLED)
            if (control := self._controls.get(stream_id)) is not None:
                control.end()
            else:
                self._over(job)
            return True

    def abandon(self, stream_id: int) -> bool:
        """Let no server resume a job that does not run; False for one that runs."""
        with self._changed:
            if stream_id in self._controls:
                return False
            if not self.cancel(stream_id) and (job := self._left.pop(stream_id, None)):
                self._discard(job)
            return True

    def interrupt(self) -> None:
        """End the running jobs because the server ends; they stay queued for its next start.

        Further jobs are refused, and jobs that are not kept are cancelled.
        """
        with self._changed:
            self._closed = True
            for stream_id in sorted(self._unkept):
                self.cancel(stream_id)
            for stream_id, control in self._controls.items():
                if not control.stop.is_set():
                    self._interrupted.add(stream_id)
                    control.end()

    def watch(self, ended: Callable[[StreamJob], None]) -> None:
        """Call a function with each job that ends, which must not call this queue."""
        self._watchers.append(ended)

    def unfinished(self) -> tuple[StreamJob, ...]:
        """The jobs that are queued or running, oldest first."""
        return tuple(job for job in self.jobs() if not job.is_over)

    def jobs(self) -> tuple[StreamJob, ...]:
        """All jobs, oldest first."""
        with self._changed:
            return tuple(self._jobs.values())

    def place(self, job: StreamJob) -> int | None:
        """The place of a job in the queue, 1 for the next one; None unless it is queued."""
        with self._changed:
            waiting = [each.id for each in self._waiting()]
        return waiting.index(job.id) + 1 if job.id in waiting else None

    def _waiting(self) -> list[StreamJob]:
        return [job for job in self._jobs.values() if job.state is JobState.QUEUED]

    def _add(self, job: StreamJob) -> None:
        self._jobs[job.id] = job
        self._next_id = max(self._next_id, job.id + 1)
        self._changed.notify_all()

    def _over(self, job: StreamJob, keep: bool = False) -> None:
        self.ended[self._jobs[job.id].state] += 1
        if keep:
            self._left[job.id] = job
        else:
            self._discard(job)
        for ended in self._watchers:
            ended(self._jobs[job.id])
        for stream_id in [each.id for each in self._jobs.values() if each.is_over][:-_ENDED_KEPT]:
            del self._jobs[stream_id]
            self._unkept.discard(stream_id)
            self._forgotten(stream_id)

    def _discard(self, job: StreamJob) -> None:
        self._preparation.discard(job)
        if self._store is not None:
            self._store.remove(job)

    def refusal(self) -> str | None:
        """Why no job can be submitted now; None if one can."""
        with self._changed:
            if self._closed:
                return "the server is shutting down"
            if len(self._waiting()) + self._preparing >= WAITING_LIMIT:
                return f"{WAITING_LIMIT} streams are waiting"
            return None

    @property
    def waiting(self) -> int:
        """The number of queued jobs."""
        with self._changed:
            return len(self._waiting())

    def _require_room(self) -> None:
        if (why := self.refusal()) is not None:
            raise QueueFullError(f"{why}; try again later")


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise JobError for a job that cannot be made."""
    try:
        yield
    except JobError:
        raise
    except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise JobError(safe_text(error, _MESSAGE)) from error
