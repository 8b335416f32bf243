"""Requests and answers of the videos API."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sana_stream.streaming.control.live_control import PROMPT_LIMIT
from sana_stream.streaming.control.stream_request import ALLOWED, VideoSettings

PICTURE = "input_reference"  # the field of the picture with which a film begins
IMAGE_URL = f"{PICTURE}[image_url]"  # as OpenAI's clients write a nested field in a form
SECONDS = "4"  # of a film whose length is not given
MOST_SECONDS = 3600
_SECONDS = r"^[0-9]{1,5}(\.[0-9]{1,3})?$"
_DATA_URL = r"^[Dd][Aa][Tt][Aa]:"
_LENGTH = f'must be more than 0 and at most {MOST_SECONDS}, such as "{SECONDS}"'
ALLOWED_IN_VIDEOS = {
    "model": "must be the name of the model that /v1/models lists",
    **{name: ALLOWED[name] for name in VideoSettings.model_fields},
    "seconds": _LENGTH,
    PICTURE: "must be a picture: the file of a multipart form, or a data: URL, in JSON as "
    f'{{"image_url": "data:image/png;base64,…"}} and in a form as {IMAGE_URL}',
}


Length = Annotated[
    str | float | None,
    Field(
        union_mode="left_to_right",
        description=f"length of the video; absent, without num_frames: {SECONDS}",
        json_schema_extra={
            "anyOf": [
                {"type": "string", "pattern": _SECONDS},
                {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_SECONDS},
                {"type": "null"},
            ]
        },
    ),
]


_PICTURE_AS_URL = "the picture in base64, as a data: URL"


class ImageReference(BaseModel):
    """A picture with which a film begins."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    image_url: str = Field(pattern=_DATA_URL, description=_PICTURE_AS_URL)


class VideoFields(VideoSettings):
    """What every request for a film has: `prompt` or `story`, and settings."""

    model: str | None = Field(default=None, max_length=500, description="as /v1/models lists it")
    seconds: Length = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.prompt is None and self.story is None:
            raise ValueError('prompt: is missing; send {"prompt": "a red boat"}')
        if self.seconds is not None and self.num_frames is not None:
            raise ValueError("seconds: num_frames is a length, too; leave one of them out")
        return self


class CreateVideoForm(VideoFields):
    """The text fields of a form that asks for a film; it has `prompt` or `story`."""

    image_url: str | None = Field(
        default=None,
        alias=IMAGE_URL,
        pattern=_DATA_URL,
        description=f"{_PICTURE_AS_URL}, in place of a file",
    )


class CreateVideo(VideoFields):
    """A film that is asked for; it has `prompt` or `story`."""

    input_reference: ImageReference | None = None


class RemixVideo(BaseModel):
    """A film that continues another one under a new prompt."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prompt: str = Field(min_length=1, max_length=PROMPT_LIMIT)
    seconds: Length = None


class VideoError(BaseModel):
    """Why a film failed."""

    code: str
    message: str


class Video(BaseModel):
    """A film; times in seconds since 1970."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=100, description="percent")
    created_at: int
    completed_at: int | None
    expires_at: int | None = None
    error: VideoError | None
    prompt: str
    seconds: str
    size: str
    remixed_from_video_id: str | None
    stream: int = Field(description="id of the stream, whose page is /streams/ID/")


class VideoList(BaseModel):
    """Films in the order of their creation."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideo(BaseModel):
    """A film that is removed."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


class Model(BaseModel):
    """A model of the server."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "sana-stream"


class ModelList(BaseModel):
    """The models of the server."""

    object: Literal["list"] = "list"
    data: list[Model]


class ApiErrorFields(BaseModel):
    """Why a request was refused."""

    message: str
    type: str
    param: str | None
    code: str | None


class ApiErrorBody(BaseModel):
    """The answer to a request that was refused."""

    error: ApiErrorFields
