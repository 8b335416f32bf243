"""Where prompts come from while a stream runs: lines typed in, a file that is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Thread

from .control import CommandError, Control


def read_lines(lines: Iterable[str], control: Control, report: Callable[[str], None]) -> Thread:
    """Give each line to the mailbox as it comes, in a thread of its own; returns the thread.

    At the end of the lines the stream goes on with its last prompt. `report` hears of lines that
    are no command, and when no more can be read.
    """

    def run() -> None:
        try:
            for line in lines:
                try:
                    control.say(line)
                except CommandError as error:
                    report(str(error))
        except OSError as error:  # the terminal has gone, say
            reason = (error.strerror or str(error)).lower()
            report(f"no more lines can be read: {reason}; the stream goes on")

    thread = Thread(target=run, name="prompt lines", daemon=True)
    thread.start()
    return thread


class WatchedFile:
    """A file that is read again when it has changed; to be asked once a block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()

    def changed(self) -> bool:
        """Whether the file is another one than at the last call; a missing one is unchanged."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return False
        self._seen = stamp
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
