"""The files that keep a server's streams over a restart, next to their recordings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import RLock
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sana_stream._files import atomic_write, parse_json, read_bounded
from sana_stream._prompts import MOST_BLOCKS
from sana_stream._text import os_reason, safe_text
from sana_stream.streaming.control.job_queue import StreamJob
from sana_stream.streaming.control.journal import JournaledControl
from sana_stream.streaming.control.live_control import PROMPT_LIMIT, LiveControl
from sana_stream.streaming.control.pending_changes import PendingChanges
from sana_stream.streaming.control.scheduled_prompt import SCHEDULE_LIMIT, ScheduledPrompt
from sana_stream.streaming.control.stream_request import (
    StreamRequest,
    given_fields,
    stored_request,
)
from sana_stream.streaming.run.recordings import JOB_SUFFIX
from sana_stream.streaming.stream_name import FILM_NAME, stream_name

from .cut_pictures import PICTURE_NAME, CutPictures
from .leftovers import remove_leftovers

logger = logging.getLogger(__name__)
_BYTES = 32 << 20  # of one file
_CHANGES_KEPT = 1000  # newest; older ones are in the checkpoint
_CHARACTERS_KEPT = 2 << 20  # of all changes, far more than are made between two checkpoints


class _Scheduled(BaseModel):
    """A prompt that a client scheduled."""

    model_config = ConfigDict(strict=True, extra="forbid")

    at_seconds: float = Field(ge=0, lt=1e9, allow_inf_nan=False)
    prompt: str = Field(min_length=1, max_length=PROMPT_LIMIT)
    transition_blocks: int = Field(default=0, ge=0, le=MOST_BLOCKS)


class _Change(BaseModel):
    """What a client changed with the block that starts at a frame of the video."""

    model_config = ConfigDict(strict=True, extra="forbid")

    frame: int = Field(ge=0, lt=2**53)
    prompt: str | None = Field(default=None, max_length=PROMPT_LIMIT)
    negative: str | None = Field(default=None, max_length=PROMPT_LIMIT)
    seed: int | None = Field(default=None, ge=0, lt=10**30)
    blend: int = Field(default=0, ge=0, le=MOST_BLOCKS)
    image: str | None = Field(default=None, pattern=PICTURE_NAME)
    story: list[_Scheduled] | None = Field(default=None, max_length=SCHEDULE_LIMIT)

    @classmethod
    def of(cls, frame: int, changes: PendingChanges, image: str | None) -> Self:
        """What takes effect at a frame; `image` is the name of its picture."""
        values: dict[str, Any] = {name: getattr(changes, name) for name in _REPEATED}
        if changes.story is not None:
            values["story"] = [_Scheduled(**asdict(cue)) for cue in changes.story]
        values["image"] = image
        return cls(frame=frame, **values)

    @property
    def characters(self) -> int:
        """About how many characters it has in a file."""
        cues = sum(len(cue.prompt) + 80 for cue in self.story or ())
        return 200 + len(self.prompt or "") + len(self.negative or "") + cues

    def pending(self, image: bytes | None) -> PendingChanges:
        """The same as a control takes it, with its picture."""
        values: dict[str, Any] = self.model_dump(include=_REPEATED)
        if self.story is not None:
            values["story"] = tuple(ScheduledPrompt(**cue.model_dump()) for cue in self.story)
        values["image"] = image
        return PendingChanges(**values)


_REPEATED = set(_Change.model_fields) - {"frame"}  # of `PendingChanges`


class _JobFile(StreamRequest):
    """One stream that has not ended: what was asked for, and what is made of it."""

    version: Literal[1] = 1
    id: int = Field(ge=1, lt=10**9)
    has_picture: bool = False
    film: str | None = Field(default=None, pattern=FILM_NAME)  # once it has begun
    changes: list[_Change] = Field(default=[], max_length=_CHANGES_KEPT)


class JobFiles:
    """One JSON file for each stream that is queued or running: `stream-0003.job.json`.

    A file that cannot be written is logged once; the stream continues. Methods may be called from
    any thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pictures = CutPictures(folder)
        self._lock = RLock()
        self._files: dict[int, _JobFile] = {}
        self._failed = False

    def load(self) -> list[StreamJob]:
        """The streams of an earlier server, oldest first; to be called before any other begins.

        What a crash has left of other streams is removed. A file that is not of this program is
        logged and left as it is.
        """
        remove_leftovers(self._folder)
        with self._lock:
            for path in sorted(self._folder.glob(f"stream-*{JOB_SUFFIX}")):
                if (found := _read(path)) is not None and self._path(found.id) == path:
                    self._files[found.id] = found
                else:
                    logger.warning(
                        "%s is not a stream of this program: it is left as it is", safe_text(path)
                    )
            files = [self._files[key] for key in sorted(self._files)]
            for file in files:
                self._pictures.keep(file.id, _pictures_of(file))
        return [
            StreamJob(file.id, stored_request(file), has_picture=file.has_picture) for file in files
        ]

    def drop(self) -> None:
        """Remove the files of the streams that `load` found; their recordings stay."""
        with self._lock:
            for stream_id in list(self._files):
                self._remove(stream_id)

    def save(self, job: StreamJob) -> None:
        """Keep a queued job."""
        with self._lock:
            self._files[job.id] = _JobFile(
                id=job.id, has_picture=job.has_picture, **given_fields(job.request)
            )
            self._write(job.id)

    def begin(self, job: StreamJob, film: Path | None) -> None:
        """Record in which file a stream that begins is recorded; None: it is not recorded."""
        new = {"film": None if film is None else film.name, "changes": []}
        self._update(job.id, lambda file: file.model_copy(update=new))
        self._keep_pictures(job.id)

    def film(self, job: StreamJob) -> Path | None:
        """The recording of a stream that had begun; None where there is none."""
        with self._lock:
            file = self._files.get(job.id)
        if file is None or file.film is None or not (self._folder / file.film).exists():
            return None
        return self._folder / file.film

    def remove(self, job: StreamJob) -> None:
        """Forget a job that has ended."""
        with self._lock:
            self._remove(job.id)

    def control(self, job: StreamJob) -> LiveControl:
        """A control that keeps what clients change, and repeats what they changed before.

        That of a job that was not saved keeps nothing.
        """
        with self._lock:
            if (file := self._files.get(job.id)) is None:
                return LiveControl()

        def record(frame: int, changes: PendingChanges) -> None:
            image = changes.image
            name = None if image is None else self._pictures.save(job.id, image)
            change = _Change.of(frame, changes, name)
            self._update(
                job.id,
                lambda file: file.model_copy(update={"changes": _newest([*file.changes, change])}),
            )
            if image is not None:
                self._keep_pictures(job.id)

        repeated = {each.frame: each.pending(self._picture(each.image)) for each in file.changes}
        return JournaledControl(record, repeated)

    def _update(self, stream_id: int, change: Callable[[_JobFile], _JobFile]) -> None:
        with self._lock:
            if stream_id in self._files:
                self._files[stream_id] = change(self._files[stream_id])
                self._write(stream_id)

    def _picture(self, name: str | None) -> bytes | None:
        return None if name is None else self._pictures.read(name)

    def _keep_pictures(self, stream_id: int) -> None:
        with self._lock:
            if (file := self._files.get(stream_id)) is not None:
                self._pictures.keep(stream_id, _pictures_of(file))

    def _path(self, stream_id: int) -> Path:
        return self._folder / stream_name(stream_id, JOB_SUFFIX)

    def _write(self, stream_id: int) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            content = (
                self._files[stream_id].model_dump_json(indent=1, exclude_none=True).encode() + b"\n"
            )
            atomic_write(self._path(stream_id), content)
            self._failed = False
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "%s: %s; after a restart the server does not know its streams",
                    safe_text(self._folder),
                    os_reason(error),
                )
            self._failed = True

    def _remove(self, stream_id: int) -> None:
        if self._files.pop(stream_id, None) is not None:
            with suppress(OSError):
                self._path(stream_id).unlink(missing_ok=True)
            self._pictures.keep(stream_id, [])


def _newest(changes: list[_Change]) -> list[_Change]:
    """The newest changes, as many as the file of a stream may hold."""
    room, kept = _CHARACTERS_KEPT, 0
    for change in reversed(changes[-_CHANGES_KEPT:]):
        room -= change.characters
        if room < 0 and kept:
            break
        kept += 1
    return changes[-kept:]


def _pictures_of(file: _JobFile) -> list[str]:
    """The names of the pictures of a stream, newest last."""
    return [change.image for change in file.changes if change.image is not None]


def _read(path: Path) -> _JobFile | None:
    with suppress(OSError, ValueError, ValidationError):
        return _JobFile.model_validate(parse_json(read_bounded(path, _BYTES), _BYTES))
    return None
