"""What each block is to show: the story's prompt, or what somebody asks for while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sana_stream.cli.console import Reporter, unknown_word_notes
from sana_stream.engine.story.story import IMAGE_MARK, format_time, split_negative
from sana_stream.errors import ConfigError, SanaStreamError

from .config import Request
from .live import LiveSession
from .prompt_check import PromptCheck

if TYPE_CHECKING:
    import numpy as np

    from sana_stream.engine.block import Block
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.control.live_control import PendingChanges
    from sana_stream.streaming.control.pacing import RealtimePacer


class PromptScheduler:
    """Finds each block's prompt and announces every change with the frame of its effect.

    A prompt that somebody gives holds until the story's next one takes over. Without a `pace`
    blocks are made as fast as the outputs take them. `keep` saves a session under a name and says
    so. `picture` reads a picture that the story cuts to. `check` says what a model does not read of
    a prompt that somebody gives.
    """

    def __init__(
        self,
        request: Request,
        reporter: Reporter,
        picture: Callable[[str], np.ndarray],
        live: LiveSession | None = None,
        pace: RealtimePacer | None = None,
        keep: Callable[[Session, str], str] | None = None,
        check: PromptCheck | None = None,
    ) -> None:
        self.live = live
        self.shift = 0  # frames that the stream has been taken back in all
        self._picture = picture
        self._cut: tuple[int, np.ndarray | None] = (-1, None)  # the last block's frame, its picture
        self._keep = keep
        self._check = check
        self._planned_negative: str | None = None  # the story's negative prompt of the last block
        self._request = request
        self._reporter = reporter
        self._pace = pace
        self._planned: str | None = None  # the story's prompt of the last block
        self._shown: str | None = None  # the prompt of the last block

    def resume_at(self, prompt: str, frame: int) -> None:
        """The block at this frame of the video, the last one of an earlier run, had this prompt."""
        self._planned = self._request.timeline.prompt_at(frame)
        self._shown = prompt.removesuffix(self._request.prompt_suffix)
        self._planned_negative = self.negative_at(frame)
        self._cut = (frame, None)

    def prompt_at(self, frame: int, given: str | None = None) -> str:
        """The prompt of the block that starts at this frame of the video, as a person reads it."""
        planned = self._request.timeline.prompt_at(frame)
        held = self._shown if planned == self._planned else None
        prompt = given or held or planned
        if self._shown not in (None, prompt):
            self._reporter.switch(prompt, frame, self._request.seconds_of(frame))
        self._planned, self._shown = planned, prompt
        return prompt

    def negative_at(self, frame: int) -> str | None:
        """The story's negative prompt of the block that starts at this frame of the video; None
        where the story has none, or guidance leads away from nothing."""
        request = self._request
        if request.guidance == 1 or all(cue.negative is None for cue in request.timeline.cues):
            return None
        own = request.timeline.cue_at(frame).negative
        return request.negative_prompt if own is None else own

    def picture_at(self, frame: int) -> np.ndarray | None:
        """The picture that the block at this frame of the video cuts to, uint8 (H, W, 3).

        Frames ascend; the same one may be asked for again.
        """
        before, picture = self._cut
        if frame == before:
            return picture
        path = self._request.timeline.image_between(before, frame)
        picture = None if path is None else self._read(path, frame)
        self._cut = (frame, picture)
        return picture

    def _read(self, path: str, frame: int) -> np.ndarray | None:
        try:
            picture = self._picture(path)
        except ConfigError as error:
            self._reporter.note(f"{error}; the film goes on without a cut")
            return None
        told = "cut to" if frame else "begins with"
        where = f"from frame {frame} ({format_time(self._request.seconds_of(frame))})"
        self._reporter.note(f"{where}: {told} {path}")
        return picture

    def apply(self, session: Session, frame: int) -> None:
        """Put to a session what holds for its next block, which starts at this frame of the video.

        Whatever was asked for since the last block takes effect with this one.
        """
        given = negative = None
        if self.live is not None:
            self._read_again(self.live)
            changes = self.live.control.drain()
            self._apply(changes, session, self.live)
            self._travel(changes, session)
            given, negative = self._words(changes.prompt)
            negative = self._negative(negative if changes.negative is None else changes.negative)
        planned = self.negative_at(frame)
        if planned != self._planned_negative:
            self._planned_negative, negative = planned, negative or planned
        session.switch(self.prompt_at(frame, given) + self._request.prompt_suffix, negative)
        if (picture := self.picture_at(frame)) is not None:
            session.cut(picture)

    def wait(self) -> None:
        """Wait while the stream is held, or is further ahead of its viewers than it has to be."""
        if self.live is not None and self.live.control.paused:
            self._reporter.note("the stream is held; /resume goes on")
            self.live.control.wait_while_paused()
        if self._pace is not None:
            self._pace.wait()

    def on_block(self, frames: int, seconds: float) -> None:
        """So many frames were made in so many seconds."""
        if self._pace is not None:
            self._pace.on_block(frames, seconds)

    def on_delivered(self, block: Block) -> None:
        """A block has gone out."""
        if self.live is not None and self.live.status is not None:
            self.live.status.on_block(block)

    def _words(self, given: str | None) -> tuple[str | None, str | None]:
        """A prompt that somebody gives, and a negative one behind it, without a picture, which only
        the story can have."""
        words, mark, _ = (given or "").partition(IMAGE_MARK)
        if mark:
            self._reporter.note("a picture is named in the story: --watch, and write it there")
        words, negative = split_negative(words)
        if words and (told := unknown_word_notes(words.strip(), self._request)):
            self._reporter.note(told)
        if words and self._check is not None:
            self._check.prompt(words.strip() + self._request.prompt_suffix)
        return words.strip() or None, negative

    def _negative(self, given: str | None) -> str | None:
        """A negative prompt that somebody gives, and what is to be said of it."""
        if given and self._request.guidance == 1:
            self._reporter.note("/negative has no effect at guidance 1: begin with --guidance 4")
        elif given and self._check is not None:
            self._check.negative(given)
        return given

    def _read_again(self, live: LiveSession) -> None:
        if live.watched is None or (request := live.watched.changed()) is None:
            return
        self._request = request
        if self._check is not None:
            self._check.story(request)
        if live.status is not None:
            live.status.plan(request.shown_prompts())

    def _travel(self, changes: PendingChanges, session: Session) -> None:
        """Keep this moment, or go back to another one; the video goes on in either case."""
        try:
            if changes.branch is not None and self._keep is not None:
                self._reporter.note(self._keep(session, changes.branch))
            if changes.back is not None:
                before = session.next_start
                gone = before - session.rewind(changes.back, float(self._request.fps))
                self.shift += gone
                where = "" if session.next_start else ", at its beginning"
                back = f"{self._request.seconds_of(gone):.1f} s back{where}"
                self._reporter.note(f"the stream is {back}; the video goes on")
        except SanaStreamError as error:
            self._reporter.note(str(error))

    def _apply(self, changes: PendingChanges, session: Session, live: LiveSession) -> None:
        if changes.seed is None:
            return
        try:
            session.reseed(changes.seed)
        except ConfigError as error:
            self._reporter.note(f"/seed: {error}")
            return
        if live.status is not None:
            live.status.reseed(changes.seed)
        self._reporter.note(f"seed {changes.seed} from the next block on")
