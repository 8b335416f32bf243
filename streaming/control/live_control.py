"""The mailbox between whoever directs a stream and the run that makes it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Thread

from sana_stream._text import os_reason, safe_text
from sana_stream.errors import CommandError

logger = logging.getLogger(__name__)


def read_lines(lines: Iterable[str], control: LiveControl) -> Thread:
    """Submit each line as it comes, in a thread of its own; returns the thread.

    At the end of the lines the stream continues with its last prompt. Lines that are not a command,
    and an input that can no longer be read, are logged as warnings.
    """

    def run() -> None:
        try:
            for line in lines:
                try:
                    control.submit(line)
                except CommandError as error:
                    logger.warning("%s", error)
        except OSError as error:  # such as a closed terminal
            logger.warning("no more lines can be read: %s; the stream continues", os_reason(error))

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


PROMPT_LIMIT = 4000  # characters
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # could steer a terminal, or be no text

COMMANDS = {
    "/pause": "hold the stream after the block in work",
    "/resume": "go on",
    "/stop": "end the stream after the block in work",
    "/seed N": "new noise from the next block on",
    "/negative TEXT": "what the pictures should not show",
    "/back SECONDS": "take the stream back, to go another way from there",
    "/branch NAME": "keep this moment as NAME.ckpt, for a video of its own",
}
_VALUES = {
    "/seed": "takes a whole number, such as /seed 5",
    "/back": "takes seconds, such as /back 10",
    "/branch": "takes a name of letters, digits, - _ and ., such as /branch dusk",
}
BRANCH_LIMIT = 20  # moments that one stream keeps for those who direct it over the network
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")  # of a file
_DEVICE = re.compile(  # what Windows takes for a device, whatever ending it has
    r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE
)
_SEED = re.compile(r"[0-9]{1,30}")  # Python refuses to read numbers of thousands of digits
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """What was asked for since the last block; None where nothing was."""

    prompt: str | None = None
    negative: str | None = None
    seed: int | None = None
    back: float | None = None  # seconds
    branch: str | None = None


class LiveControl:
    """Takes prompts and commands from any thread; the run reads them at each block's start.

    Of several prompts between two blocks the last one holds. `stop` is the run's own event.
    """

    def __init__(self, stop: Event | None = None) -> None:
        self.stop = stop or Event()
        self._changed = Condition()
        self._prompt: str | None = None
        self._negative: str | None = None
        self._seed: int | None = None
        self._back: float | None = None
        self._branch: str | None = None
        self._branches = 0  # asked for from afar
        self._paused = False

    def submit(self, line: str, remote: bool = False) -> None:
        """Take one line: a command if it begins with a slash, else a prompt; empty is nothing.

        Raises CommandError for a command that there is not, for a prompt of more than 4000
        characters, and for a moment too many to be kept for somebody `remote`.
        """
        line = line.strip()
        if not line.startswith("/"):
            self.prompt(line)
            return
        name, _, value = line.partition(" ")
        match name, value.strip():
            case "/pause", "":
                self.pause()
            case "/resume", "":
                self.resume()
            case "/stop", "":
                self.end()
            case "/seed", number if _SEED.fullmatch(number):
                self.seed(int(number))
            case "/negative", text:
                self.negative(text)
            case "/back", seconds if _SECONDS.fullmatch(seconds):
                self.back(float(seconds))
            case "/branch", word if _NAME.fullmatch(word) and not _DEVICE.fullmatch(word):
                self._count_branch(remote)
                self.branch(word)
            case _:
                told = _VALUES.get(name, f"commands are {', '.join(COMMANDS)}")
                raise CommandError(f"{safe_text(line, 80)!r}: {told}")

    def _count_branch(self, remote: bool) -> None:
        with self._changed:
            if remote and self._branches >= BRANCH_LIMIT:
                raise CommandError(
                    f"/branch: {BRANCH_LIMIT} moments of this stream are kept, more are not kept "
                    "from afar; type /branch where it was started with --interactive"
                )
            self._branches += remote

    def prompt(self, text: str) -> None:
        """Ask for another prompt; empty text is nothing."""
        text = _checked(text)
        if text:
            with self._changed:
                self._prompt = text

    def negative(self, text: str) -> None:
        """Ask for another negative prompt; empty takes it away."""
        text = _checked(text)
        with self._changed:
            self._negative = text

    def seed(self, number: int) -> None:
        """Ask for noise from another seed."""
        with self._changed:
            self._seed = number

    def back(self, seconds: float) -> None:
        """Ask to take the stream back."""
        with self._changed:
            self._back = seconds

    def branch(self, name: str) -> None:
        """Ask to keep the moment between two blocks under a name, which is a file's."""
        with self._changed:
            self._branch = name

    def pause(self) -> None:
        """Hold the stream."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Let a held stream go on."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def end(self) -> None:
        """End the stream."""
        self.stop.set()
        self.resume()

    @property
    def paused(self) -> bool:
        """Whether the stream is held or about to be."""
        return self._paused

    @property
    def waiting_prompt(self) -> str | None:
        """The prompt that the next block will have, if another one was asked for."""
        return self._prompt

    def drain(self) -> PendingChanges:
        """Everything asked for since the last call; to be called at a block's start."""
        with self._changed:
            changes = PendingChanges(
                self._prompt, self._negative, self._seed, self._back, self._branch
            )
            self._prompt = self._negative = self._seed = self._back = self._branch = None
            return changes

    def wait_while_paused(self) -> None:
        """Wait while the stream is held; returns at once when it is not, or is to stop."""
        with self._changed:
            while self._paused and not self.stop.is_set():
                self._changed.wait(0.2)


def _checked(text: str) -> str:
    text = " ".join(_NO_TEXT.sub(" ", text).split())
    if len(text) > PROMPT_LIMIT:
        raise CommandError(f"{len(text)} characters: a prompt has at most {PROMPT_LIMIT}")
    return text
