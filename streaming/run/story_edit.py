"""The story of a running video with other prompts to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sana_stream.engine.story.story import Cue, Story
from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt

from .config import RunConfig
from .plan import RunPlan


def edit_story(
    plan: RunPlan, cues: Sequence[ScheduledPrompt], frame: int, shown: str | None = None
) -> Story:
    """The story of a plan whose prompts from a frame on are replaced.

    Args:
        plan: of the run.
        cues: the new prompts, ascending. The last one of those before the frame is moved to it, the
            others are left out. A prompt that the plan has among its coming ones keeps its picture
            and its negative prompt.
        frame: of the video, with which the next block starts.
        shown: the prompt of the last block, where a client may have given it.

    Raises:
        StoryError: prompts that no story can have.
    """
    coming = {
        place.cue.prompt: place.cue
        for place in plan.placements
        if place.frame is not None and place.frame >= frame
    }
    earliest = plan.seconds_of(frame)
    passed = sum(each.at_seconds <= earliest for each in cues)
    new = tuple(_cue(each, earliest, coming) for each in cues[max(0, passed - 1) :])
    return Story((*_begun(plan, frame, shown, new), *new), plan.story.name)


def with_fixed_length(config: RunConfig, plan: RunPlan) -> RunConfig:
    """The configuration with the length that the run has, whatever its story becomes."""
    if plan.frames is None:
        return replace(config, every=None)
    return replace(config, every=None, minutes=None, seconds=None, frames=plan.frames)


def _cue(given: ScheduledPrompt, earliest: float, coming: dict[str, Cue]) -> Cue:
    before = coming.get(given.prompt)
    return Cue(
        max(given.at_seconds, earliest),
        given.prompt,
        image=None if before is None else before.image,
        negative=None if before is None else before.negative,
        blend=given.transition_blocks,
    )


def _begun(plan: RunPlan, frame: int, shown: str | None, new: Sequence[Cue]) -> list[Cue]:
    """What was shown before the frame, without blends, which the session continues by itself."""
    begun = [
        replace(place.cue, blend=0)
        for place in plan.placements
        if place.frame is not None and place.frame < frame
    ]
    if not begun:  # a story begins at 0:00
        first = [replace(plan.timeline.cues[0], blend=0)]
        return [] if new and not new[0].start_seconds else first
    if shown is not None and shown != begun[-1].prompt:  # it holds until the next prompt
        before = (frame - 0.5) / float(plan.fps)
        begun.append(Cue(before, shown, negative=begun[-1].negative))
    return begun
