"""The answers to requests that change the prompts of a stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .registry import ActiveStream
from .responses import JsonResponse
from .served_model import ServedModel, UnknownWord
from .status import ShownPrompt


@dataclass(frozen=True, slots=True)
class AcceptedPrompt:
    """A change that takes effect with the next block."""

    prompt: str | None
    from_frame_or_later: int
    unknown_words: list[UnknownWord]


@dataclass(frozen=True, slots=True)
class ComingPrompts:
    """The prompts of a stream that are still to come."""

    coming: list[ShownPrompt]


async def answer_accepted(model: ServedModel, stream: ActiveStream, prompt: str) -> JsonResponse:
    """The answer to a prompt, or to a picture whose prompt may be empty."""
    unknown = await model.unknown_in(prompt)
    answer = AcceptedPrompt(prompt or None, stream.feed.frames, unknown)
    return JsonResponse(asdict(answer), 202)
