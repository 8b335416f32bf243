"""The films of a server in a file next to their recordings, so that they outlive it."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sana_stream._files import atomic_write, parse_json, read_bounded
from sana_stream._text import os_reason, safe_text
from sana_stream.streaming.control.stream_request import STORY_LIMIT
from sana_stream.streaming.stream_name import FILM_NAME

logger = logging.getLogger(__name__)
INDEX = "videos.jsonl"
MOST_FILMS = 1000  # the oldest ones are forgotten first
_LINE = 256 << 10  # bytes
_ID = r"^video_[0-9a-f]{32}$"


class KeptVideo(BaseModel):
    """One film: what was asked for, and how it ended."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    id: str = Field(pattern=_ID)
    stream: int = Field(ge=1, lt=10**9)
    created_at: int = Field(ge=0, lt=2**53)  # seconds since 1970
    model: str = Field(max_length=500)
    prompt: str = Field(max_length=STORY_LIMIT)
    seconds: str = Field(max_length=40)
    size: str = Field(max_length=20)
    remixed_from: str | None = Field(default=None, pattern=_ID)
    completed_at: int | None = Field(default=None, ge=0, lt=2**53)
    file: str | None = Field(default=None, pattern=FILM_NAME)  # of a whole film
    error_code: str | None = Field(default=None, max_length=100)
    error: str | None = Field(default=None, max_length=1000)

    @property
    def is_over(self) -> bool:
        """Whether it is completed or has failed."""
        return self.file is not None or self.error is not None


class VideoIndex:
    """The newest films, oldest first; methods may be called from any thread.

    A line that cannot be read is left out, with a warning. A file that cannot be written is logged
    once; the films are then known until the server ends.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX
        self._lock = Lock()
        self._failed = False
        self._films = {film.id: film for film in self._read()}

    def all(self) -> list[KeptVideo]:
        """Every film."""
        with self._lock:
            return list(self._films.values())

    def get(self, film_id: str) -> KeptVideo | None:
        """The film of an id."""
        with self._lock:
            return self._films.get(film_id)

    def of_stream(self, stream_id: int) -> KeptVideo | None:
        """The film that a stream makes."""
        return next((film for film in self.all() if film.stream == stream_id), None)

    def put(self, film: KeptVideo) -> None:
        """Add a film, or replace it."""
        with self._lock:
            self._films[film.id] = film
            for oldest in list(self._films)[:-MOST_FILMS]:
                del self._films[oldest]
            self._write()

    def replace(self, film: KeptVideo) -> bool:
        """Replace a film; False where it was removed meanwhile."""
        with self._lock:
            if film.id not in self._films:
                return False
            self._films[film.id] = film
            self._write()
            return True

    def remove(self, *film_ids: str) -> None:
        """Forget films."""
        with self._lock:
            found = [film_id for film_id in film_ids if self._films.pop(film_id, None)]
            if found:
                self._write()

    def _read(self) -> list[KeptVideo]:
        try:
            lines = read_bounded(self._path, _LINE * MOST_FILMS).splitlines()
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read: %s", safe_text(self._path), safe_text(error, 200))
            return []
        films, damaged = [], 0
        for line in lines:
            try:
                films.append(KeptVideo.model_validate(parse_json(line, _LINE)))
            except (ValidationError, ValueError):
                damaged += 1
        if damaged:
            logger.warning(
                "%s: %d damaged lines are left out; their films stay in the folder",
                *(safe_text(self._path), damaged),
            )
        return films[-MOST_FILMS:]

    def _write(self) -> None:
        lines = [film.model_dump_json(exclude_none=True) for film in self._films.values()]
        try:
            self._path.parent.mkdir(0o700, parents=True, exist_ok=True)
            atomic_write(self._path, "".join(f"{line}\n" for line in lines).encode())
            self._failed = False
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "%s: %s; after a restart the server does not know its newest films",
                    *(safe_text(self._path), os_reason(error)),
                )
            self._failed = True
