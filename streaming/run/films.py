"""The recordings of a server as films, also those of earlier servers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from sana_stream.errors import ConfigError
from sana_stream.streaming.containers.probe import count_frames, frame_rate, open_video
from sana_stream.streaming.web.file_cache import FileCache
from sana_stream.streaming.web.film_pictures import FilmPictures, poster
from sana_stream.streaming.web.films import Film, FilmPrompt

from .checkpoint_files import SUFFIX, checkpoint_of
from .recorded_prompts import recorded_prompts
from .recordings import Recordings

logger = logging.getLogger(__name__)
_KEPT = 256  # films in memory
_MOST_PROMPTS = 100  # of one film that are listed
T = TypeVar("T")


class RecordedFilms:
    """Reads what the page shows of recordings, and keeps the newest answers in memory.

    Args:
        recordings: of the server.
        abandon: lets no server resume a stream; returns False for one that runs.
    """

    def __init__(
        self, recordings: Recordings, abandon: Callable[[int], bool] = lambda _: True
    ) -> None:
        self._recordings = recordings
        self._abandon = abandon
        self._films: FileCache[Film] = FileCache(_KEPT)
        self._pictures = FilmPictures()

    def ids(self) -> list[int]:
        """As `Films.ids`."""
        return sorted(self._paths(), reverse=True)

    def path(self, film_id: int) -> Path | None:
        """As `Films.path`."""
        return self._paths().get(film_id)

    def describe(self, film_id: int) -> Film | None:
        """As `Films.describe`."""

        def get(path: Path) -> Film:
            own = path.with_suffix(SUFFIX).exists()
            return self._films.get(path, lambda path: _read(film_id, path), film_id, own)

        film = self._of(film_id, get)
        if film is None or film_id not in self._recordings.interrupted():
            return film
        return replace(film, state="interrupted")

    def thumbnail(self, film_id: int) -> bytes | None:
        """As `Films.thumbnail`."""
        return self._of(film_id, lambda path: self._pictures.get(path, poster))

    def remove(self, film_id: int) -> bool:
        """As `Films.remove`."""
        if (path := self.path(film_id)) is None:
            return False
        if film_id in self._recordings.interrupted() and not self._abandon(film_id):
            raise ConfigError("its stream is being resumed")
        self._recordings.discard(path)
        return True

    def _paths(self) -> dict[int, Path]:
        return self._recordings.finished() | self._recordings.interrupted()

    def _of(self, film_id: int, get: Callable[[Path], T]) -> T | None:
        """What `get` returns for a film; None where there is none, or none that can be read."""
        if (path := self.path(film_id)) is None:
            return None
        try:
            return get(path)
        except (OSError, ValueError) as error:
            logger.debug("%s cannot be read: %s", path, error)
            return None


def _read(film_id: int, path: Path) -> Film:
    found = path.stat()
    with path.open("rb") as file, open_video(file, "mp4") as opened:
        rate, stream = frame_rate(opened), opened.streams.video[0]
        return Film(
            id=film_id,
            prompts=_prompts(path, rate),
            seconds=float(count_frames(opened) / rate),
            width=stream.width,
            height=stream.height,
            bytes=found.st_size,
            finished_at=int(found.st_mtime),
            may_branch=checkpoint_of(path) is not None,
            state="finished",
        )


def _prompts(path: Path, rate: Fraction) -> tuple[FilmPrompt, ...]:
    chapters = recorded_prompts(path, rate)[:_MOST_PROMPTS]
    return tuple(FilmPrompt(float(each.start / rate), each.title) for each in chapters)
