"""What clients have changed about a stream since its last block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .scheduled_prompt import ScheduledPrompt


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """The changes requested since the last block; None for no change."""

    prompt: str | None = None
    negative: str | None = None
    seed: int | None = None
    back: float | None = None  # seconds
    branch: str | None = None
    blend: int = 0  # blocks over which the prompt is blended in
    back_to: float | None = None  # seconds of the video
    story: tuple[ScheduledPrompt, ...] | None = None  # in place of the prompts to come
    event: str | None = None  # id that the client gave to the change of prompt
    image: bytes | None = None  # the file of a picture to cut to
    superseded: tuple[str, ...] = ()  # the ids of prompts that this one replaces

    @property
    def lasting(self) -> PendingChanges:
        """What a resumed stream repeats: without rewinds, saved moments and event ids."""
        return replace(self, back=None, back_to=None, branch=None, event=None, superseded=())
