"""Commands and prompts for a running stream, from any thread."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Condition, Event, Thread

from sana_stream._files import is_device_name
from sana_stream._prompts import (
    IMAGE_MARK,
    MOST_BLOCKS,
    escape_blend,
    parse_mix,
    split_blend,
    split_negative,
)
from sana_stream._text import CONTROL, os_reason, safe_text
from sana_stream.errors import CommandError

from .pending_changes import PendingChanges
from .prompt_events import PromptEvents
from .scheduled_prompt import ScheduledPrompt, check_schedule

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
    """Detects changes of a file; to be checked once for each block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()

    def changed(self) -> bool:
        """Whether the file has changed since the last call; a missing file is unchanged."""
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

COMMANDS = {
    "/pause": "pause the stream after the current block",
    "/resume": "continue",
    "/stop": "end the stream after the current block",
    "/seed N": "new noise from the next block on",
    "/negative TEXT": "what the video should not show",
    "/back SECONDS": "rewind the stream, to continue differently from there",
    "/back to SECONDS": "rewind the stream to that time of the video",
    "/branch NAME": "save this moment as NAME.ckpt, for another video",
}
_VALUES = {
    "/seed": "takes a whole number, such as /seed 5",
    "/back": "takes seconds, such as /back 10, or a time of the video, such as /back to 75",
    "/branch": "takes a name of letters, digits, - _ and ., such as /branch dusk",
}
BRANCH_LIMIT = 20  # checkpoints of one stream that remote clients may save
EVENT_LIMIT = 64  # prompts with an event id between two blocks
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")  # of a file
_SEED = re.compile(r"[0-9]{1,30}")  # Python refuses to parse thousands of digits
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_TO_SECONDS = re.compile(r"to +([0-9]{1,8}(?:\.[0-9]{1,3})?)")


class LiveControl:
    """Takes prompts and commands from any thread; the run reads them at the start of each block.

    Of several prompts between two blocks the last one is used. `stop` is the event of the run.

    Attributes:
        events: the blocks in which prompts with an event id take effect.
        check_story: called with the prompts that `replace_story` takes; raises CommandError for
            those that do not fit the run, which sets it.
    """

    def __init__(self, stop: Event | None = None) -> None:
        self.stop = stop or Event()
        self.check_story: Callable[[Sequence[ScheduledPrompt]], None] = lambda cues: None
        self._changed = Condition()
        self._pending = PendingChanges()
        self._branches = 0  # requested by remote clients
        self._paused = False
        self.events = PromptEvents()

    def submit(self, line: str, remote: bool = False) -> None:
        """Take one line: a command if it begins with a slash, else a prompt; empty does nothing.

        Raises:
            CommandError: an unknown command, a prompt that cannot be used, or too many `/branch`
                of `remote` clients.
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
            case "/negative", prompt:
                self.negative(prompt)
            case "/back", seconds if _SECONDS.fullmatch(seconds):
                self.back(float(seconds))
            case "/back", time if found := _TO_SECONDS.fullmatch(time):
                self.back_to(float(found[1]))
            case "/branch", word if _NAME.fullmatch(word) and not is_device_name(word):
                self._count_branch(remote)
                self.branch(word)
            case _:
                allowed = _VALUES.get(name, f"commands are {', '.join(COMMANDS)}")
                raise CommandError(f"{safe_text(line, 80)!r}: {allowed}")

    def _count_branch(self, remote: bool) -> None:
        with self._changed:
            if remote and self._branches >= BRANCH_LIMIT:
                raise CommandError(
                    f"/branch: remote clients may save {BRANCH_LIMIT} moments of a stream; type"
                    " /branch where the stream was started"
                )
            self._branches += remote

    def prompt(
        self, prompt: str, transition_blocks: int | None = None, event: str | None = None
    ) -> str:
        """Change the prompt, and return it without its blend; an empty one does nothing.

        Args:
            prompt: one, or several at weights: `a boat :0.7 | a train :0.3`. With `~4` before it,
                it is blended in over 4 blocks.
            transition_blocks: 0 to 1000, in place of that notation.
            event: an id under which `events` has the blocks in which the prompt takes effect.

        Raises:
            CommandError: more than 4000 characters, weights that do not add up to 1, not a number
                of blocks, both notations of a blend, or too many events between two blocks.
        """
        prompt, blend = _checked_prompt(prompt, transition_blocks)
        if prompt:
            with self._changed:
                superseded = self._pending.superseded
                if self._pending.event is not None:
                    superseded = (*superseded, self._pending.event)
                if event is not None and len(superseded) >= EVENT_LIMIT:
                    raise CommandError(
                        f"{EVENT_LIMIT} prompts wait for the next block; send this one after it"
                    )
                changed = {"prompt": prompt, "blend": blend, "event": event}
                self._pending = replace(self._pending, **changed, superseded=superseded)
        return prompt

    def cut(self, image: bytes, prompt: str = "") -> str:
        """Cut to a picture with the next block; returns the new prompt, as `prompt` does.

        Args:
            image: the content of an image file, scaled and cropped to the size of the stream.
            prompt: from that block on; empty: the prompt stays.

        Raises:
            CommandError: as `prompt`; nothing has changed.
        """
        with self._changed:
            prompt = self.prompt(prompt, 0)
            self._pending = replace(self._pending, image=image)
        return prompt

    def negative(self, prompt: str) -> None:
        """Change the negative prompt; an empty one removes it."""
        prompt = _checked(prompt)
        with self._changed:
            self._pending = replace(self._pending, negative=prompt)

    def seed(self, number: int) -> None:
        """Change the seed of the noise."""
        with self._changed:
            self._pending = replace(self._pending, seed=number)

    def back(self, seconds: float) -> None:
        """Rewind the stream by `seconds` seconds."""
        with self._changed:
            self._pending = replace(self._pending, back=seconds, back_to=None)

    def back_to(self, seconds: float) -> None:
        """Rewind the stream to the block that shows this time of the video."""
        with self._changed:
            self._pending = replace(self._pending, back=None, back_to=seconds)

    def replace_story(self, cues: Sequence[ScheduledPrompt]) -> None:
        """Replace the prompts that are still to come, from the next block on.

        Args:
            cues: ascending. Those for a moment that has passed take effect at once.

        Raises:
            CommandError: a prompt that cannot be used, times that do not ascend or are not in the
                video, or a blend that has too few blocks.
        """
        check_schedule(cues)
        checked = []
        for cue in cues:
            prompt, blocks = _checked_prompt(cue.prompt, cue.transition_blocks)
            checked.append(ScheduledPrompt(cue.at_seconds, prompt, blocks))
        self.check_story(checked)
        with self._changed:
            self._pending = replace(self._pending, story=tuple(checked))

    def branch(self, name: str) -> None:
        """Save the moment between two blocks as `name`, the name of a file."""
        with self._changed:
            self._pending = replace(self._pending, branch=name)

    def pause(self) -> None:
        """Pause the stream after the current block."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Continue a paused stream."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def end(self) -> None:
        """End the stream after the current block."""
        self.stop.set()
        self.resume()

    @property
    def paused(self) -> bool:
        """Whether the stream is paused, or will be after the current block."""
        return self._paused

    @property
    def waiting_prompt(self) -> str | None:
        """The prompt of the next block, if a new one was requested."""
        return self._pending.prompt

    @property
    def waiting_story(self) -> tuple[ScheduledPrompt, ...] | None:
        """The prompts that replace the coming ones with the next block, if that was requested."""
        return self._pending.story

    def drain(self, frame: int | None = None) -> PendingChanges:
        """Take the changes requested since the last call; to be called at the start of a block.

        Args:
            frame: the video's frame at which the block starts.
        """
        with self._changed:
            changes, self._pending = self._pending, PendingChanges()
            return changes

    def wait_while_paused(self) -> None:
        """Wait while the stream is paused and not to stop."""
        with self._changed:
            while self._paused and not self.stop.is_set():
                self._changed.wait(0.2)


def _checked_prompt(text: str, blocks: int | None) -> tuple[str, int]:
    """A prompt that can be shown, and the number of blocks over which it is blended in."""
    text = _checked(text)
    try:
        if blocks is None:
            blocks, prompt = split_blend(text)
            if text and not prompt:
                raise ValueError(f"{text} has no prompt after it: write {text} night falls")
            text = prompt
        elif isinstance(blocks, bool) or not isinstance(blocks, int):
            raise ValueError(f"transition_blocks {safe_text(blocks, 40)}: give a whole number")
        elif not 0 <= blocks <= MOST_BLOCKS:
            raise ValueError(f"transition_blocks {blocks}: give a number from 0 to {MOST_BLOCKS}")
        elif escape_blend(text) != text:
            raise ValueError("transition_blocks and ~ before the prompt: leave one of them out")
        parse_mix(split_negative(text.partition(IMAGE_MARK)[0])[0].strip())
    except ValueError as error:
        raise CommandError(str(error)) from error
    return text, blocks


def _checked(text: str) -> str:
    text = " ".join(CONTROL.sub(" ", text).split())
    if len(text) > PROMPT_LIMIT:
        raise CommandError(f"{len(text)} characters: a prompt has at most {PROMPT_LIMIT}")
    return text
