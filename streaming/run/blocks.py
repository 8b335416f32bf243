"""The blocks of one video from its session, each under the prompt of its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

from sana_stream._prompts import add_suffix, remove_suffix

from .plan import RunPlan
from .prompts import PromptScheduler

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart
    from sana_stream.engine.session.session import Session


@dataclass(frozen=True, slots=True)
class VideoBlocks:
    """Generates the blocks of a video.

    Args:
        plan: of the run.
        session: the stream, at the video's next frame.
        prompts: finds each block's prompt.
        stop: ends the video after the current block.
        take_part: gets the parts of the first block as they are decoded, before the block.
    """

    plan: RunPlan
    session: Session
    prompts: PromptScheduler
    stop: Event
    take_part: Callable[[BlockPart], None] | None = None

    def generate(self) -> Generator[Block]:
        """The video's blocks; the last one is cut to the video's length.

        A block carries the prompt as the story has it, without the model's suffix, its start in the
        video and the video's frame rate.
        """
        frames = self.plan.frames
        self._deliver_parts(self._next_frame)
        with closing(self._session_blocks()) as made:
            while frames is None or self._next_frame < frames:
                self.prompts.wait(self.session)
                if self.stop.is_set():
                    return
                start, begun = self._next_frame, time.perf_counter()
                block = next(made)
                self.session.deliver_parts(None)
                self.prompts.on_block(len(block.frames), time.perf_counter() - begun)
                end = None if frames is None else frames - start
                prompt = remove_suffix(block.prompt, self.plan.prompt_suffix)
                changes = {"start": start, "prompt": prompt, "fps": float(self.plan.fps)}
                yield replace(block, frames=block.frames[:end], **changes)

    def _deliver_parts(self, start: int) -> None:
        """Deliver the parts of the first block, which starts at this frame of the video.

        Only there a viewer waits for them; each costs a group of pictures of its own.
        """
        take, frames = self.take_part, self.plan.frames
        if take is None:
            return

        def deliver(part: BlockPart) -> None:
            begin = start + part.offset
            shown = part.frames if frames is None else part.frames[: max(0, frames - begin)]
            if len(shown):
                prompt = remove_suffix(part.prompt, self.plan.prompt_suffix)
                take(replace(part, start=begin, frames=shown, prompt=prompt))

        self.session.deliver_parts(deliver)

    def _session_blocks(self) -> Generator[Block]:
        """The session's blocks: one by one where they may be directed, else one sampled ahead."""
        from sana_stream.engine.session.lookahead import generate_ahead

        if self.prompts.live:
            return self._directed()
        frames, offset = self.plan.frames, self._offset
        end = None if frames is None else frames + offset
        return generate_ahead(
            self.session,
            lambda start: self._prompt_at(start - offset),
            end,
            lambda start: self.prompts.picture_at(start - offset),
            lambda start: self.prompts.negative_at(start - offset),
            lambda start: self.prompts.blend_at(start - offset),
        )

    def _directed(self) -> Generator[Block]:
        while True:
            self.prompts.apply(self.session, self._next_frame)
            yield next(self.session)

    def _prompt_at(self, frame: int) -> str:
        return add_suffix(self.prompts.prompt_at(frame), self.plan.prompt_suffix)

    @property
    def _next_frame(self) -> int:
        """The video's next frame."""
        return self.session.next_start - self._offset

    @property
    def _offset(self) -> int:
        """The stream's frame that is the video's first: the video may begin in the middle of the
        stream, and the stream may have been rewound since."""
        return self.plan.first_frame - self.prompts.rewound_frames
