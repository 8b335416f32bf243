"""The prompt of each block: the story's, or one that a client gives while the run lasts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sana_stream._prompts import IMAGE_MARK, add_suffix, prompt_texts, remove_suffix, split_negative
from sana_stream._text import safe_text
from sana_stream.engine.story.story import format_time
from sana_stream.errors import CommandError, ConfigError, SanaStreamError

from .inputs import read_uploaded
from .live import LiveSession, status_prompts
from .messages import one_line, unknown_words_note
from .plan import RunPlan
from .prompt_check import PromptCheck
from .rewinds import Rewinds
from .story_edit import edit_story, with_fixed_length

if TYPE_CHECKING:
    import numpy as np

    from sana_stream.engine.block import Block
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.control.pacing import RealtimePacer
    from sana_stream.streaming.control.pending_changes import PendingChanges
    from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt

logger = logging.getLogger(__name__)
_QUEUE_POLL = 0.1  # seconds


class PromptScheduler:
    """Finds each block's prompt, and logs every change with the frame from which it holds.

    A prompt that a client gives holds until the story's next one.

    Args:
        plan: of the run.
        picture: reads a picture that the story cuts to.
        live: what directs the run; None: nothing does.
        pace: holds blocks back to real time. None: they are made as fast as the outputs take them.
        keep: saves a session under a name and returns a line about it.
        check: warns of prompts that the model does not read to their end.
    """

    def __init__(
        self,
        plan: RunPlan,
        picture: Callable[[str], np.ndarray],
        live: LiveSession | None = None,
        pace: RealtimePacer | None = None,
        keep: Callable[[Session, str], str] | None = None,
        check: PromptCheck | None = None,
    ) -> None:
        self.live = live
        self.rewound_frames = 0  # in all
        self._picture = picture
        self._cut: tuple[int, np.ndarray | None] = (-1, None)  # the last block's frame, its picture
        self._keep = keep
        self._check = check
        self._planned_negative: str | None = None  # the story's negative prompt of the last block
        self._plan = plan
        self._pace = pace
        self._rewinds = Rewinds()
        self._planned: str | None = None  # the story's prompt of the last block
        self._shown: str | None = None  # the prompt of the last block
        self._blend = 0  # blocks over which that prompt is blended in
        self._frame = plan.origin.frames  # of the video, with which the last block started
        if live is not None:
            live.control.check_story = self._check_story

    @property
    def plan(self) -> RunPlan:
        """The run with its newest story."""
        return self._plan

    def resume_at(self, prompt: str, frame: int) -> None:
        """The block at this frame of the video, the last one of an earlier run, had this prompt."""
        self._planned = self._plan.timeline.prompt_at(frame)
        self._shown = remove_suffix(prompt, self._plan.prompt_suffix)
        self._blend = self._plan.timeline.cue_at(frame).blend
        self._planned_negative = self.negative_at(frame)
        self._cut = (frame, None)

    def prompt_at(self, frame: int, given: str | None = None, blend: int = 0) -> str:
        """The prompt of the block that starts at this frame of the video, as a person reads it.

        Args:
            frame: of the video.
            given: a client's prompt.
            blend: blocks over which that is blended in.
        """
        cue = self._plan.timeline.cue_at(frame)
        planned = cue.prompt
        held = self._shown if planned == self._planned else None
        prompt = given or held or planned
        if given or held is None:
            self._blend = blend if given else cue.blend
        if self._shown not in (None, prompt):
            over = f" (blended in over {_count(self._blend)})" if self._blend else ""
            logger.info("from frame %d (%s): %s%s", frame, self._time(frame), prompt, over)
        self._planned, self._shown = planned, prompt
        return prompt

    def blend_at(self, frame: int) -> int:
        """Over how many blocks the prompt is blended in that `prompt_at` returned last."""
        return self._blend

    def negative_at(self, frame: int) -> str | None:
        """The story's negative prompt of the block that starts at this frame of the video; None
        where the story has none, or guidance leads away from nothing."""
        plan = self._plan
        if plan.guidance == 1 or all(cue.negative is None for cue in plan.timeline.cues):
            return None
        own = plan.timeline.cue_at(frame).negative
        return plan.negative_prompt if own is None else own

    def picture_at(self, frame: int) -> np.ndarray | None:
        """The picture that the block at this frame of the video cuts to, uint8 (H, W, 3).

        Frames ascend; the same one may be asked for again.
        """
        before, picture = self._cut
        if frame == before:
            return picture
        path = self._plan.timeline.image_between(before, frame)
        picture = None if path is None else self._read(path, frame)
        self._cut = (frame, picture)
        return picture

    def _read(self, path: str, frame: int) -> np.ndarray | None:
        try:
            picture = self._picture(path)
        except ConfigError as error:
            logger.warning("%s; the video continues without a cut", error)
            return None
        action = "cut to" if frame else "begins with"
        logger.info("from frame %d (%s): %s %s", frame, self._time(frame), action, path)
        return picture

    def _cut_to_uploaded(self, image: bytes, session: Session, frame: int) -> None:
        try:
            session.cut(read_uploaded(image, self._plan))
        except ConfigError as error:
            logger.warning("%s; the video continues without a cut", error)
            return
        action = "cut to" if frame else "begins with"
        logger.info("from frame %d (%s): %s a client's picture", frame, self._time(frame), action)

    def _time(self, frame: int) -> str:
        return format_time(self._plan.seconds_of(frame))

    def apply(self, session: Session, frame: int) -> None:
        """Apply prompts and commands to a session's next block, which starts at this frame of the
        video.

        Everything submitted since the last block takes effect with this one.
        """
        self._frame = frame
        given, negative, image, blend, changes = None, None, None, 0, None
        if self.live is not None:
            self._read_again(self.live)
            changes = self.live.control.drain(frame)
            self._apply(changes, session, self.live)
            self._branch_or_rewind(changes, session, frame)
            self._edit(changes, frame, self.live)
            given, negative = self._words(changes.prompt)
            image, blend = changes.image, changes.blend
            negative = self._negative(negative if changes.negative is None else changes.negative)
        planned = self.negative_at(frame)
        if planned != self._planned_negative:
            self._planned_negative, negative = planned, negative or planned
        prompt = add_suffix(self.prompt_at(frame, given, blend), self._plan.prompt_suffix)
        blocks = self._blend if prompt != session.prompt else 0
        session.switch(prompt, negative, transition_blocks=blocks)
        if (picture := self.picture_at(frame)) is not None:
            session.cut(picture)
        if image is not None:
            self._cut_to_uploaded(image, session, frame)
        if self.live is not None and changes is not None:
            events = self.live.control.events
            blends = session.snapshot().is_blending
            events.begin_block(frame, prompt, blends, changes.event, changes.superseded)

    def wait(self, session: Session) -> None:
        """Wait while the stream is paused, or is further ahead of real time than it has to be.

        Streams that share the session's device get its share while it is paused or unused. It may
        have to wait for them afterwards.
        """
        live, stop = self.live, None if self.live is None else self.live.control.stop
        if live is not None and live.control.paused:
            logger.info("the stream is paused; /resume continues it")
            with session.idle():
                live.control.wait_while_paused()
        if live is not None and self._plan.frames is None and not live.is_used():
            with session.idle():
                live.wait_for_use()
        while session.place and stop is not None and not stop.wait(_QUEUE_POLL):
            pass
        if self._pace is not None:
            self._pace.wait()
            session.set_deadline(self._pace.deadline)

    def on_block(self, frames: int, seconds: float) -> None:
        """Record that a block of `frames` frames took `seconds` seconds."""
        in_time = self._pace is None or self._pace.on_block(frames, seconds)
        if not in_time and self.live is not None and self.live.status is not None:
            self.live.status.on_late()

    def on_delivered(self, block: Block) -> None:
        """Record that a block was delivered."""
        if self.live is not None and self.live.status is not None:
            self.live.status.on_block(block)

    def _words(self, given: str | None) -> tuple[str | None, str | None]:
        """A client's prompt, and the negative one in it, without a picture, which only the story
        can have."""
        words, mark, _ = (given or "").partition(IMAGE_MARK)
        if mark:
            logger.warning("a picture is named in the story: watch=True, and write it there")
        words, negative = split_negative(words)
        if words and (line := unknown_words_note(words.strip(), self._plan)):
            logger.warning("%s", line)
        if words and words.strip() == self._shown:
            logger.info('"%s" is the current prompt: nothing changes', safe_text(self._shown, 80))
        if words and self._check is not None:
            for text in prompt_texts(words.strip()):
                self._check.prompt(text + self._plan.prompt_suffix)
        return words.strip() or None, negative

    def _negative(self, given: str | None) -> str | None:
        """A client's negative prompt, and a warning where it has no effect."""
        if given and self._plan.guidance == 1:
            logger.warning("/negative has no effect at guidance 1: begin with guidance=4")
        elif given and self._check is not None:
            self._check.negative(given)
        return given

    def _read_again(self, live: LiveSession) -> None:
        if live.watched is None or (plan := live.watched.changed()) is None:
            return
        self._plan = plan
        if self._check is not None:
            self._check.story(plan)
        if live.status is not None:
            live.status.plan(status_prompts(plan))

    def _check_story(self, cues: Sequence[ScheduledPrompt]) -> None:
        """Check prompts that are to replace the coming ones; raises CommandError."""
        try:
            self._edited(cues, self._frame)
        except SanaStreamError as error:
            raise CommandError(str(error)) from error

    def _edited(self, cues: Sequence[ScheduledPrompt], frame: int) -> RunPlan:
        assert self.live is not None
        story = edit_story(self._plan, cues, frame, self._shown)
        return self.live.resolve(story, with_fixed_length(self._plan.config, self._plan))

    def _edit(self, changes: PendingChanges, frame: int, live: LiveSession) -> None:
        """Replace the prompts to come by those that a client has scheduled."""
        if changes.story is None:
            return
        try:
            self._plan = self._edited(changes.story, frame)
        except SanaStreamError as error:
            logger.warning("%s; the story stays as it was", one_line(error))
            return
        logger.info("the coming prompts were replaced: %d", len(changes.story))
        if live.status is not None:
            live.status.plan(status_prompts(self._plan))

    def _branch_or_rewind(self, changes: PendingChanges, session: Session, frame: int) -> None:
        """Save this moment, or rewind to an earlier one; the video continues in both cases."""
        try:
            if changes.branch is not None and self._keep is not None:
                logger.info("%s", self._keep(session, changes.branch))
            back = changes.back
            if changes.back_to is not None:
                at = round(changes.back_to * self._plan.fps)
                back = self._plan.seconds_of(self._rewinds.frames_back(at, frame))
            if back is not None:
                before = session.next_start
                gone = before - session.rewind(back, float(self._plan.fps))
                self.rewound_frames += gone
                self._rewinds.add(frame, gone)
                if self.live is not None and self.live.status is not None:
                    self.live.status.on_rewind(self._rewinds.left_out)
                where = "" if session.next_start else ", to its start"
                back = self._plan.seconds_of(gone)
                logger.info("the stream was rewound by %.1f s%s; the video continues", back, where)
        except SanaStreamError as error:
            logger.warning("%s", error)

    def _apply(self, changes: PendingChanges, session: Session, live: LiveSession) -> None:
        if changes.seed is None:
            return
        try:
            session.reseed(changes.seed)
        except ConfigError as error:
            logger.warning("/seed: %s", error)
            return
        if live.status is not None:
            live.status.reseed(changes.seed)
        logger.info("seed %d from the next block on", changes.seed)


def _count(blocks: int) -> str:
    return f"{blocks} block{'s' * (blocks > 1)}"
