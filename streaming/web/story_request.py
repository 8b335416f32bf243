"""Reading a request that replaces the coming prompts of a stream."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sana_stream._prompts import MOST_BLOCKS
from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt

from .request_body import read_json
from .status import StatusSnapshot

_LATEST = 36_000_000.0  # seconds
_MARGIN = 0.001  # seconds: times are written to the millisecond
_EXPECTED = (
    'send JSON: {"cues": [{"at_seconds": 12, "prompt": "…", "transition_blocks": 2}]}, with'
    f" seconds of the video from 0, and a number of blocks from 0 to {MOST_BLOCKS}"
)


class CueBody(BaseModel):
    """A prompt and when it is first shown."""

    model_config = ConfigDict(strict=True, extra="forbid")

    at_seconds: float = Field(ge=0, le=_LATEST, allow_inf_nan=False)
    prompt: str
    transition_blocks: int = Field(0, ge=0, le=MOST_BLOCKS)


class StoryBody(BaseModel):
    """The prompts to come, in the order of their times."""

    model_config = ConfigDict(strict=True, extra="forbid")

    cues: list[CueBody]


async def read_schedule(request: Request) -> tuple[ScheduledPrompt, ...]:
    """The prompts of a request; an empty list leaves the current prompt to the end.

    Raises:
        HTTPException: anything else than such a list.
    """
    try:
        story = StoryBody.model_validate(await read_json(request))
    except ValidationError as error:
        raise HTTPException(400, _EXPECTED) from error
    return tuple(
        ScheduledPrompt(cue.at_seconds, cue.prompt, cue.transition_blocks) for cue in story.cues
    )


def require_future(cues: tuple[ScheduledPrompt, ...], now: StatusSnapshot) -> None:
    """Refuse prompts for a moment that is generated already.

    Raises:
        HTTPException: 409, with the earliest possible moment.
    """
    if cues and cues[0].at_seconds < now.seconds - _MARGIN:
        raise HTTPException(
            409,
            f"at_seconds {cues[0].at_seconds:g} is generated already: give {now.seconds:.3f} or"
            " later",
        )
