"""The messages of a session as JSON, in both directions."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sana_stream._files import parse_json
from sana_stream._prompts import MOST_BLOCKS
from sana_stream._text import safe_text
from sana_stream.errors import SanaStreamError
from sana_stream.streaming.control.live_control import PROMPT_LIMIT
from sana_stream.streaming.control.stream_request import StreamRequest, given_fields
from sana_stream.streaming.web.request_body import unique_keys

CONTROL_BYTES = 128 << 10  # of one message of a client
EVENT_ID_LIMIT = 200  # characters
LEAD_LIMIT = 60.0  # seconds of video that may be sent ahead
_DEPTH = 8  # nested lists and objects


class SessionError(SanaStreamError):
    """A message that a client sent, or a session that cannot continue: what, and why.

    Attributes:
        code: for programs.
        event_id: of the interaction that failed, or None.
        close: code with which the WebSocket is closed; None: the session continues.
    """

    def __init__(
        self, code: str, message: str, event_id: str | None = None, close: int | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.event_id, self.close = code, event_id, close


class _ClientMessage(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class ExtraParams(_ClientMessage):
    """How chunks are sent."""

    pace_to_media_time: bool = False
    pacing_lead_seconds: float = Field(default=0.0, ge=0, le=LEAD_LIMIT)


class SessionStart(StreamRequest):
    """The first message of a client: what is generated, and how it is sent."""

    type: Literal["session.start"]
    format: str = "m4s"
    model: str | None = Field(None, max_length=500)
    width: int | None = Field(None, ge=1, le=99_999)  # in place of `size`, with `height`
    height: int | None = Field(None, ge=1, le=99_999)
    extra_params: ExtraParams = ExtraParams()

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height: give both, or none of them")
        if self.width is not None and self.size is not None:
            raise ValueError("width and size are both sizes: leave one of them out")
        return self

    @property
    def job_fields(self) -> dict[str, Any]:
        """The fields of the job that makes the stream."""
        fields = given_fields(self)
        return fields if self.width is None else fields | {"size": f"{self.width}x{self.height}"}


class PromptEvent(_ClientMessage):
    """What an interaction changes."""

    prompt: str = Field(min_length=1, max_length=PROMPT_LIMIT)


class Interaction(_ClientMessage):
    """A change of prompt, with an id under which its blocks are reported."""

    event_id: str | None = Field(None, min_length=1, max_length=EVENT_ID_LIMIT)
    event: PromptEvent
    transition_chunks: int | None = Field(None, ge=0, le=MOST_BLOCKS)


class SessionInteraction(_ClientMessage):
    """Change the prompt of the running session."""

    type: Literal["session.interaction"]
    interaction: Interaction


class SessionPing(_ClientMessage):
    """Ask for a `session.pong`."""

    type: Literal["session.ping"]


class SessionStop(_ClientMessage):
    """End the session after the block that is being generated."""

    type: Literal["session.stop"]


ClientMessage = SessionStart | SessionInteraction | SessionPing | SessionStop
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)
_TYPES = ("session.start", "session.interaction", "session.ping", "session.stop")


def parse_message(text: str | None) -> ClientMessage:
    """A client's message; raises SessionError, after which the session continues."""
    if text is None:
        raise SessionError("invalid_message", "binary messages are not read: send JSON as text")
    if len(text.encode(errors="replace")) > CONTROL_BYTES:
        raise SessionError("message_too_large", f"a message has at most {CONTROL_BYTES} bytes")
    try:
        fields = parse_json(text, CONTROL_BYTES, _DEPTH, pairs=unique_keys)
    except ValueError as error:
        raise SessionError("invalid_json", f"this is not JSON: {safe_text(error, 200)}") from error
    if not isinstance(fields, dict) or fields.get("type") not in _TYPES:
        allowed = ", ".join(_TYPES)
        raise SessionError("unknown_type", f'send a JSON object whose "type" is one of {allowed}')
    try:
        return _CLIENT.validate_python(fields)
    except ValidationError as error:
        raise SessionError(
            "invalid_message", f"{fields['type']}: {_first_error(error)}", _event_id(fields)
        ) from error


def _first_error(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return safe_text(first["ctx"]["error"], 300)
    where = ".".join(str(step) for step in first["loc"][1:])
    return safe_text(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}", 300)


def _event_id(fields: dict[str, object]) -> str | None:
    """The event id of an interaction with another fault, so that its client can tell which."""
    interaction = fields.get("interaction")
    event_id = interaction.get("event_id") if isinstance(interaction, dict) else None
    if isinstance(event_id, str) and 0 < len(event_id) <= EVENT_ID_LIMIT:
        return event_id
    return None


class ServerMessage(BaseModel):
    """A message to a client."""

    def to_json(self) -> str:
        """The message as JSON in ASCII."""
        return json.dumps(self.model_dump(), separators=(",", ":"))


class SessionMessage(ServerMessage):
    """A message about a session that was accepted."""

    request_id: str


class SessionQueued(SessionMessage):
    """The session waits for its turn."""

    type: Literal["session.queued"] = "session.queued"
    stream_id: int
    place: int  # 1 for the next one


class VideoStart(SessionMessage):
    """The stream begins."""

    type: Literal["video.start"] = "video.start"
    stream_id: int  # its page is /streams/ID/
    format: Literal["m4s"] = "m4s"
    mime: str  # for Media Source Extensions
    config: dict[str, object]


class ChunkMetadata(SessionMessage):
    """Describes the binary message that follows."""

    type: Literal["video.chunk_metadata"] = "video.chunk_metadata"
    kind: Literal["media"] = "media"
    num_frames: int
    byte_length: int
    generation_chunk_index: int  # number of the block; the first one may come in several chunks
    transport_chunk_index: int
    started_event_ids: tuple[str, ...] = ()
    active_event_ids: tuple[str, ...] = ()
    completed_event_ids: tuple[str, ...] = ()


class InteractionQueued(SessionMessage):
    """An interaction takes effect with the next block."""

    type: Literal["session.interaction.queued"] = "session.interaction.queued"
    event_id: str


class SessionPong(ServerMessage):
    """The answer to a ping."""

    type: Literal["session.pong"] = "session.pong"


class SessionDone(SessionMessage):
    """The last message of a session."""

    type: Literal["session.done"] = "session.done"
    chunks: int
    stopped: bool  # before its whole length


class ErrorMessage(ServerMessage):
    """What was wrong; fields that say nothing are left out."""

    type: Literal["error"] = "error"
    message: str
    code: str
    request_id: str | None = None
    event_id: str | None = None

    def to_json(self) -> str:
        """The message as JSON in ASCII."""
        return json.dumps(self.model_dump(exclude_none=True), separators=(",", ":"))
