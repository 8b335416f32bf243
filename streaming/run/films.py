"""The recordings of a server as films, also those of earlier servers."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from sana_stream._files import read_bounded
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.captions import read_chapters
from sana_stream.streaming.web.films import Film, FilmPrompt

from .checkpoint_files import SUFFIX, checkpoint_of
from .recordings import Recordings

if TYPE_CHECKING:
    from av.container import InputContainer

logger = logging.getLogger(__name__)
_KEPT = 256  # films and thumbnails in memory
_MOST_PROMPTS = 100  # of one film that are listed
_CAPTIONS = 4 << 20  # bytes
_HEIGHT = 180  # pixels of a thumbnail
_PLACE = Fraction(1, 3)  # of a film, where its thumbnail is
T = TypeVar("T")
_Key = tuple[Path, int, int, bool]  # with the size and the time of the file, and its checkpoint


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
        self._lock = Lock()
        self._films: OrderedDict[_Key, Film] = OrderedDict()
        self._thumbnails: OrderedDict[_Key, bytes] = OrderedDict()

    def ids(self) -> list[int]:
        """As `Films.ids`."""
        return sorted(self._paths(), reverse=True)

    def path(self, film_id: int) -> Path | None:
        """As `Films.path`."""
        return self._paths().get(film_id)

    def describe(self, film_id: int) -> Film | None:
        """As `Films.describe`."""
        film = self._kept(self._films, film_id, lambda path: _read(film_id, path))
        if film is None or film_id not in self._recordings.interrupted():
            return film
        return replace(film, state="interrupted")

    def thumbnail(self, film_id: int) -> bytes | None:
        """As `Films.thumbnail`."""
        return self._kept(self._thumbnails, film_id, _read_thumbnail)

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

    def _kept(
        self, kept: OrderedDict[_Key, T], film_id: int, read: Callable[[Path], T]
    ) -> T | None:
        """What `read` returned for a film, read again when its files have changed."""
        if (path := self.path(film_id)) is None:
            return None
        try:
            found = path.stat()
            own = path.with_suffix(SUFFIX).exists()
            key = (path, found.st_size, found.st_mtime_ns, own)
            with self._lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
            value = read(path)
        except (OSError, ValueError, ArithmeticError) as error:  # FFmpegError is one of both
            logger.debug("%s cannot be read: %s", path, error)
            return None
        with self._lock:
            kept[key] = value
            while len(kept) > _KEPT:
                kept.popitem(last=False)
        return value


def _read(film_id: int, path: Path) -> Film:
    import av

    found = path.stat()
    with path.open("rb") as file, av.open(file, "r", format="mp4") as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 0)
        return Film(
            id=film_id,
            prompts=_prompts(path, rate),
            seconds=float(_frames(container) / rate),
            width=stream.width,
            height=stream.height,
            bytes=found.st_size,
            finished_at=int(found.st_mtime),
            may_branch=checkpoint_of(path) is not None,
            state="finished",
        )


def _frames(container: InputContainer) -> int:
    stream = container.streams.video[0]
    return stream.frames or sum(1 for packet in container.demux(stream) if packet.size)


def _prompts(path: Path, rate: Fraction) -> tuple[FilmPrompt, ...]:
    """The prompts in the captions next to a film; none where there are no captions."""
    with suppress(OSError, ValueError):
        chapters = read_chapters(read_bounded(path.with_suffix(".vtt"), _CAPTIONS), 1 / rate)
        return tuple(
            FilmPrompt(float(each.start / rate), each.title) for each in chapters[:_MOST_PROMPTS]
        )
    return ()


def _read_thumbnail(path: Path) -> bytes:
    import av

    with path.open("rb") as file, av.open(file, "r", format="mp4") as container:
        stream = container.streams.video[0]
        if stream.duration:
            container.seek(int(stream.duration * _PLACE), stream=stream)
        image = next(container.decode(stream)).to_image()
    if image.height > _HEIGHT:
        image = image.resize((max(1, round(image.width * _HEIGHT / image.height)), _HEIGHT))
    image.save(data := BytesIO(), "jpeg", quality=80)
    return data.getvalue()
