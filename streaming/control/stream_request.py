"""What a client asks of a server: a stream's prompts, its settings, and where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sana_stream._text import LINE_BREAKS, find_control, safe_text
from sana_stream.errors import JobError

from .live_control import PROMPT_LIMIT

STORY_LIMIT = 16 << 10  # characters
MOST_STEPS = 1000
MOST_FPS = 1000
_EXAMPLE = 'send JSON: {"prompt": "a red boat", "seconds": 60, "seed": 0}'
ALLOWED = {
    "prompt": f"must have 1 to {PROMPT_LIMIT} characters",
    "story": f"must have 1 to {STORY_LIMIT} characters",
    "seed": f"must be from 0 to {2**63 - 1}",
    "seconds": "must be more than 0 and less than 1000000000",
    "num_frames": "must be from 1 to 1000000000",
    "negative_prompt": f"must have at most {PROMPT_LIMIT} characters",
    "num_inference_steps": f"must be from 1 to {MOST_STEPS}",
    "guidance_scale": "must be from 0 to 100",
    "flow_shift": "must be more than 0 and at most 100",
    "fps": f"must be from 0.001 to {MOST_FPS}",
    "size": 'must be width and height in pixels, such as "448x256"',
    "realtime": "must be true or false",
    "branch_from": 'must be such as {"stream": 3, "seconds": 12.5}, with the id of a stream',
}
OF_THE_STREAM = (  # a branch has these of the stream that it begins in
    *("negative_prompt", "num_inference_steps", "guidance_scale", "flow_shift", "size"),
)


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class VideoSettings(_Strict):
    """What a video shows, and how it is sampled; absent settings are those of the server."""

    prompt: str | None = Field(
        default=None, min_length=1, max_length=PROMPT_LIMIT, description="what the video shows"
    )
    story: str | None = Field(
        default=None,
        min_length=1,
        max_length=STORY_LIMIT,
        description="in place of prompt: prompts in any form of a prompt file, such as one a line,"
        " each with its time",
    )
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="of the noise")
    num_frames: int | None = Field(
        default=None, ge=1, le=10**9, description="length in frames, in place of seconds"
    )
    negative_prompt: str | None = Field(
        default=None,
        max_length=PROMPT_LIMIT,
        description="what the video should not show; needs guidance_scale above 1",
    )
    num_inference_steps: int | None = Field(
        default=None, ge=1, le=MOST_STEPS, description="denoising steps a block"
    )
    guidance_scale: float | None = Field(
        default=None,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="strength of classifier-free guidance; 1 is none",
    )
    flow_shift: float | None = Field(
        default=None, gt=0, le=100, allow_inf_nan=False, description="shift of the timesteps"
    )
    fps: float | None = Field(
        default=None,
        ge=0.001,
        le=MOST_FPS,
        allow_inf_nan=False,
        description="frames per second at which the video plays",
    )
    size: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$",
        description='width and height in pixels, such as "448x256"',
    )

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        if self.prompt is not None and self.story is not None:
            raise ValueError("prompt and story are both given: leave one of them out")
        for name in ("prompt", "story", "negative_prompt"):
            _check_text(name, getattr(self, name))
        return self

    @property
    def title(self) -> str:
        """The prompt, or the story as text."""
        return self.prompt or self.story or ""

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Width and height."""
        if self.size is None:
            return None
        width, _, height = self.size.partition("x")
        return int(width), int(height)


class BranchPoint(_Strict):
    """A moment of a stream from which another one branches off."""

    stream: int = Field(ge=1, lt=10**9, description="id of the stream")
    seconds: float | None = Field(
        default=None,
        ge=0,
        lt=1e9,
        allow_inf_nan=False,
        description="of its recording; absent: its end",
    )


class StreamRequest(VideoSettings):
    """A stream that is asked for.

    It has `prompt` or `story`. A branch may have neither: it continues with the prompt of the
    moment.
    """

    seconds: float | None = Field(
        default=None,
        gt=0,
        lt=1e9,
        allow_inf_nan=False,
        description="length of the video; absent, without num_frames: unlimited",
    )
    realtime: bool | None = Field(
        default=None,
        description="make blocks as fast as they play, for viewers; false: as fast as possible",
    )
    branch_from: BranchPoint | None = Field(
        default=None, description="begin as a branch of another stream"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = given_fields(self).keys()
        if not {"prompt", "story", "branch_from"} & given:
            raise ValueError(_EXAMPLE)
        if {"seconds", "num_frames"} <= given:
            raise ValueError("seconds and num_frames are both lengths: leave one of them out")
        if "branch_from" in given and (own := [n for n in OF_THE_STREAM if n in given]):
            raise ValueError(f"{own[0]}: a branch has that of its stream; leave it out")
        return self


def parse_stream_request(fields: object) -> StreamRequest:
    """A request of the fields of a JSON object.

    Raises:
        JobError: a field is missing, unknown or wrong; names what is allowed.
    """
    if not isinstance(fields, dict):
        raise JobError(_EXAMPLE)
    try:
        return StreamRequest.model_validate(fields)
    except ValidationError as error:
        raise JobError(*first_error(error, ALLOWED, "a stream")) from error


def given_fields(request: StreamRequest) -> dict[str, Any]:
    """The fields that are given, as a file keeps them."""
    values = {name: getattr(request, name) for name in StreamRequest.model_fields}
    return {name: value for name, value in values.items() if value is not None}


def stored_request(kept: StreamRequest) -> StreamRequest:
    """The request in a record that has further fields."""
    return StreamRequest(**given_fields(kept))


def _check_text(name: str, text: str | None) -> None:
    if text is None:
        return
    if name != "negative_prompt" and not text.strip():
        raise ValueError(f"{name}: {ALLOWED[name]}")
    if find_control(text, LINE_BREAKS):
        raise ValueError(f"{name}: has characters that are not text")


def first_error(
    error: ValidationError, allowed: Mapping[str, str], what: str
) -> tuple[str, str | None]:
    """The first error: the field, its value, what is allowed; and the field.

    Args:
        error: of a request.
        allowed: what each field may be, such as "must be true or false".
        what: has these fields.
    """
    first: Any = error.errors(include_url=False)[0]
    if not first["loc"]:
        reason = str(first["ctx"]["error"])
        name = reason.partition(":")[0]
        return reason, name if name in allowed else None
    name = safe_text(first["loc"][0], 40)
    if name not in allowed:
        return f"{name!r}: {what} has {', '.join(allowed)}", name
    if first["type"] == "string_unicode":
        return f"{name}: has characters that are not text", name
    if first["type"].endswith("_type") or "_parsing" in first["type"]:
        return f"{name}: cannot be {safe_text(first['input'], 40)!r}; it {allowed[name]}", name
    return f"{name}: {allowed[name]}", name
