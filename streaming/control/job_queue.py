"""The streams that clients have requested of a server: one runs, the others are queued."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from threading import Condition, Event
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sana_stream._text import LINE_BREAKS, find_control, safe_text
from sana_stream.errors import JobError, QueueFullError

from .live_control import LiveControl

STORY_LIMIT = 16 << 10  # characters
WAITING_LIMIT = 16  # jobs
_ENDED_KEPT = 32  # ended jobs that are still listed
_MESSAGE = 400  # characters of an error
_ALLOWED = {
    "story": f"must have 1 to {STORY_LIMIT} characters",
    "seed": f"must be from 0 to {2**63 - 1}",
    "seconds": "must be more than 0 and less than 1000000000",
}


class _Fields(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    story: str = Field(min_length=1, max_length=STORY_LIMIT)
    seed: int | None = Field(None, ge=0, lt=2**63)
    seconds: float | None = Field(None, gt=0, lt=1e9, allow_inf_nan=False)


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StreamJob:
    """A requested stream: its story, as text in any format of stories."""

    number: int
    story: str
    seed: int | None = None
    seconds: float | None = None  # of video; None: endless
    state: JobState = JobState.QUEUED
    message: str = ""  # why it failed

    def as_dict(self) -> dict[str, object]:
        """The fields by name, for JSON."""
        return asdict(self)


class JobStore(Protocol):
    """Keeps the jobs that have not ended, for the next start of the server."""

    def save(self, job: StreamJob) -> None:
        """Keep a queued job; raises StoreError."""
        ...

    def remove(self, job: StreamJob) -> None:
        """Forget a job that has ended; returns at once and never raises."""
        ...


class JobQueue:
    """A queue of jobs between the web server and the run.

    Holds at most 16 queued jobs and the last 32 ended ones.

    Args:
        check: called with each job before it is queued; raises ValueError with the reason for a
            refusal.
        store: keeps the jobs, or None.
    """

    def __init__(
        self,
        check: Callable[[StreamJob], None] = lambda _: None,
        store: JobStore | None = None,
    ) -> None:
        self._check = check
        self._store = store
        self._changed = Condition()
        self._jobs: dict[int, StreamJob] = {}
        self._control: LiveControl | None = None
        self._count = 0
        self._interrupted = False

    def submit(self, request: object) -> StreamJob:
        """Queue a job from the fields of a JSON object: `story`, optionally `seed` and `seconds`.

        Raises:
            JobError: a field is missing or wrong, `check` refuses the job, or the queue is full.
            StoreError: the job cannot be kept.
        """
        job = _parse_job(self._count, request)
        self._require_room()
        try:
            self._check(job)
        except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise JobError(safe_text(error, _MESSAGE)) from error
        with self._changed:
            self._require_room()
            job = replace(job, number=self._count)
            self._count += 1
        if self._store is not None:
            self._store.save(job)  # without the lock: it may take long
        self.restore([job])
        return job

    def restore(self, jobs: Iterable[StreamJob]) -> None:
        """Queue jobs that keep their numbers, as those of an earlier server, whatever the limit."""
        with self._changed:
            for job in jobs:
                self._jobs[job.number] = job
                self._count = max(self._count, job.number + 1)
            self._changed.notify_all()

    def next(self, stop: Event) -> StreamJob | None:
        """Wait for the next job; None when the run is to stop."""
        with self._changed:
            while not stop.is_set():
                for job in self._jobs.values():
                    if job.state is JobState.QUEUED:
                        return job
                self._changed.wait(0.2)
        return None

    def begin(self, job: StreamJob, control: LiveControl) -> None:
        """Set a job to running, with its control; a job just cancelled is ended."""
        with self._changed:
            if self._jobs.get(job.number) is not job:
                control.end()
                return
            self._jobs[job.number] = replace(job, state=JobState.RUNNING)
            self._control = control

    def end(self, job: StreamJob, error: str = "", keep: bool = False) -> None:
        """Set a job to finished, or to failed with an error.

        A running one that `interrupt` has ended stays in the store.

        Args:
            job: a running one.
            error: why it failed; empty: it did not.
            keep: keep a failed job in the store.
        """
        with self._changed:
            before = self._jobs.get(job.number, job)
            self._control = None
            if self._interrupted and before.state is JobState.RUNNING:
                return
            if error:
                message = safe_text(error, _MESSAGE)
                self._jobs[job.number] = replace(before, state=JobState.FAILED, message=message)
            elif before.state is JobState.RUNNING:
                self._jobs[job.number] = replace(before, state=JobState.FINISHED)
            if not keep:
                self._remove(job)
            self._forget()

    def cancel(self, number: int) -> bool:
        """Cancel a queued job, or end a running one; False if there is neither."""
        with self._changed:
            job = self._jobs.get(number)
            if job is None or job.state not in (JobState.QUEUED, JobState.RUNNING):
                return False
            if job.state is JobState.RUNNING and self._control:
                self._control.end()
            elif job.state is JobState.QUEUED:
                self._remove(job)
            self._jobs[number] = replace(job, state=JobState.CANCELLED)
            self._forget()
            return True

    def interrupt(self) -> None:
        """End the running job because the server ends; it stays in the store, as queued ones do."""
        with self._changed:
            self._interrupted = True
            if self._control is not None:
                self._control.end()

    def jobs(self) -> tuple[StreamJob, ...]:
        """All jobs, oldest first."""
        with self._changed:
            return tuple(self._jobs.values())

    def _remove(self, job: StreamJob) -> None:
        if self._store is not None:
            self._store.remove(job)

    def _require_room(self) -> None:
        waiting = sum(each.state is JobState.QUEUED for each in self.jobs())
        if waiting >= WAITING_LIMIT:
            raise QueueFullError(f"{WAITING_LIMIT} streams are waiting; try again later")

    def _forget(self) -> None:
        ended = [
            number
            for number, job in self._jobs.items()
            if job.state not in (JobState.QUEUED, JobState.RUNNING)
        ]
        for number in ended[:-_ENDED_KEPT]:
            del self._jobs[number]


def _parse_job(number: int, request: object) -> StreamJob:
    if not isinstance(request, dict) or "story" not in request:
        raise JobError('send JSON: {"story": "…", "seed": 0, "seconds": 60}')
    try:
        fields = _Fields.model_validate(request)
    except ValidationError as error:
        raise JobError(_first_error(error)) from error
    if not fields.story.strip():
        raise JobError(f"story: {_ALLOWED['story']}")
    if find_control(fields.story, LINE_BREAKS):
        raise JobError("story: has characters that are not text")
    return StreamJob(number, fields.story, fields.seed, fields.seconds)


def _first_error(error: ValidationError) -> str:
    """The first error: the field, its value, what is allowed."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = safe_text(first["loc"][0] if first["loc"] else "", 40)
    if name not in _ALLOWED:
        return f"{name!r}: a stream has {', '.join(_ALLOWED)}"
    if first["type"] == "string_unicode":
        return f"{name}: has characters that are not text"
    if first["type"].endswith("_type") or "_parsing" in first["type"]:
        return f"{name}: cannot be {safe_text(first['input'], 40)!r}; it {_ALLOWED[name]}"
    return f"{name}: {_ALLOWED[name]}"
