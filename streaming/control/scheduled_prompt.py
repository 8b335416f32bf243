"""A prompt that a client schedules for a later moment of a running stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sana_stream._prompts import IMAGE_MARK
from sana_stream.errors import CommandError

SCHEDULE_LIMIT = 200  # prompts


@dataclass(frozen=True, slots=True)
class ScheduledPrompt:
    """A prompt, the second of the video from which it is shown, and its blend in blocks."""

    at_seconds: float
    prompt: str
    transition_blocks: int = 0


def check_schedule(cues: Sequence[ScheduledPrompt]) -> None:
    """Check what is common to the prompts of a schedule.

    Raises:
        CommandError: too many, an empty one, one with a picture, or times that do not ascend.
    """
    if len(cues) > SCHEDULE_LIMIT:
        raise CommandError(f"{len(cues)} prompts: a schedule has at most {SCHEDULE_LIMIT}")
    for cue in cues:
        where = f"the prompt at {cue.at_seconds:g} s"
        if not cue.prompt.strip():
            raise CommandError(f"{where} is empty: describe the scene")
        if IMAGE_MARK in cue.prompt:
            raise CommandError(f"{where} names a picture: only the story of a run may")
    for before, cue in pairwise(cues):
        if cue.at_seconds <= before.at_seconds:
            raise CommandError(
                f"at_seconds {cue.at_seconds:g} does not come after {before.at_seconds:g}:"
                " times must ascend"
            )
