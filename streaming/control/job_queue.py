"""The streams that a server was asked for: one is on, the others wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from threading import Condition, Event

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sana_stream._text import safe_text
from sana_stream.errors import JobError, QueueFullError

from .live_control import LiveControl

STORY_LIMIT = 16 << 10  # characters
WAITING_LIMIT = 16  # orders
_ENDED_KEPT = 32  # orders that are over and still listed
# Halves of characters, and what could steer a terminal that shows the story.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


_MESSAGE = 400  # characters of what went wrong
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
    """What has become of an order."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StreamJob:
    """A stream somebody wants: its story, as text in any form a story may have."""

    number: int
    story: str
    seed: int | None = None
    seconds: float | None = None  # of video; None: without end
    state: JobState = JobState.QUEUED
    message: str = ""  # why it failed

    def as_dict(self) -> dict[str, object]:
        """The fields by name, for JSON."""
        return asdict(self)


class JobQueue:
    """A queue of orders between the web server and the run.

    `check` is asked about each order before it is taken and raises ValueError with the reason
    against it. Holds at most 16 waiting orders and the last 32 that are over.
    """

    def __init__(self, check: Callable[[StreamJob], None] = lambda _: None) -> None:
        self._check = check
        self._changed = Condition()
        self._orders: dict[int, StreamJob] = {}
        self._control: LiveControl | None = None
        self._count = 0

    def submit(self, request: object) -> StreamJob:
        """Take an order from the fields of a JSON object: `story`, and if wanted `seed`, `seconds`.

        Raises JobError.
        """
        order = _order(self._count, request)
        self._require_room()
        try:
            self._check(order)
        except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise JobError(safe_text(error, _MESSAGE)) from error
        with self._changed:
            self._require_room()
            order = replace(order, number=self._count)
            self._orders[order.number] = order
            self._count += 1
            self._changed.notify_all()
        return order

    def next(self, stop: Event) -> StreamJob | None:
        """The next order, as soon as there is one; None when the run is to stop."""
        with self._changed:
            while not stop.is_set():
                for order in self._orders.values():
                    if order.state is JobState.QUEUED:
                        return order
                self._changed.wait(0.2)
        return None

    def begin(self, job: StreamJob, control: LiveControl) -> None:
        """Say that an order is on, and how it is directed; one just taken back is ended."""
        with self._changed:
            if self._orders.get(job.number) is not job:
                control.end()
                return
            self._orders[job.number] = replace(job, state=JobState.RUNNING)
            self._control = control

    def end(self, job: StreamJob, error: str = "") -> None:
        """Say that an order is over, or has failed and why."""
        with self._changed:
            before = self._orders.get(job.number, job)
            self._control = None
            if error:
                told = safe_text(error, _MESSAGE)
                self._orders[job.number] = replace(before, state=JobState.FAILED, message=told)
            elif before.state is JobState.RUNNING:
                self._orders[job.number] = replace(before, state=JobState.FINISHED)
            self._forget()

    def cancel(self, number: int) -> bool:
        """Take an order back, or end it when it is on; False when there is none to end."""
        with self._changed:
            order = self._orders.get(number)
            if order is None or order.state not in (JobState.QUEUED, JobState.RUNNING):
                return False
            if order.state is JobState.RUNNING and self._control:
                self._control.end()
            self._orders[number] = replace(order, state=JobState.CANCELLED)
            self._forget()
            return True

    def jobs(self) -> tuple[StreamJob, ...]:
        """All orders, oldest first."""
        with self._changed:
            return tuple(self._orders.values())

    def _require_room(self) -> None:
        waiting = sum(each.state is JobState.QUEUED for each in self.jobs())
        if waiting >= WAITING_LIMIT:
            raise QueueFullError(f"{WAITING_LIMIT} streams are waiting; try again later")

    def _forget(self) -> None:
        over = [
            number
            for number, order in self._orders.items()
            if order.state not in (JobState.QUEUED, JobState.RUNNING)
        ]
        for number in over[:-_ENDED_KEPT]:
            del self._orders[number]


def _order(number: int, request: object) -> StreamJob:
    if not isinstance(request, dict) or "story" not in request:
        raise JobError('send JSON: {"story": "…", "seed": 0, "seconds": 60}')
    try:
        fields = _Fields.model_validate(request)
    except ValidationError as error:
        raise JobError(_told(error)) from error
    if not fields.story.strip():
        raise JobError(f"story: {_ALLOWED['story']}")
    if _NO_TEXT.search(fields.story):
        raise JobError("story: holds characters that are no text")
    return StreamJob(number, fields.story, fields.seed, fields.seconds)


def _told(error: ValidationError) -> str:
    """The first thing that is wrong: which field, what it is, what is allowed."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = safe_text(first["loc"][0] if first["loc"] else "", 40)
    if name not in _ALLOWED:
        return f"{name!r}: a stream has {', '.join(_ALLOWED)}"
    if first["type"] == "string_unicode":
        return f"{name}: holds characters that are no text"
    if first["type"].endswith("_type") or "_parsing" in first["type"]:
        return f"{name}: cannot be {safe_text(first['input'], 40)!r}; it {_ALLOWED[name]}"
    return f"{name}: {_ALLOWED[name]}"
