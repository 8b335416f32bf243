"""A prompt file that is read again when it has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..engine.story import Story
from ..engine.story_file import read_story
from ..models.errors import ConfigError
from ..streaming.sources import WatchedFile
from .request import Request
from .words import one_line


class WatchedStory:
    """Asked once a block; `plan` fits a story into the video, `report` hears what became of it."""

    def __init__(
        self, path: str, plan: Callable[[Story], Request], report: Callable[[str], None]
    ) -> None:
        self._path = path
        self._file = WatchedFile(Path(path))
        self._plan = plan
        self._report = report

    def changed(self) -> Request | None:
        """The run with the new story; None without one, or with one that cannot be used."""
        if not self._file.changed():
            return None
        try:
            request = self._plan(read_story(self._path))
        except ConfigError as error:
            self._report(f"{one_line(error)}; the story stays as it was")
            return None
        self._report(f"{self._path} has changed and was read again")
        return request
