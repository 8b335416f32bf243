"""The operations of the server for its OpenAPI document: what they take, answer and refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from sana_stream.streaming.control.live_control import PROMPT_LIMIT
from sana_stream.streaming.control.stream_request import StreamRequest

from .cut import CutForm
from .films import FilmList
from .fleet import DrainedReplica, FleetState
from .health import Health, Ready, Unavailable
from .job_answer import Stream, StreamList
from .prompt_answer import AcceptedPrompt, ComingPrompts
from .request_body import CommandBody, PromptBody, ReplicaBody
from .served_model import Examples, KnownWords
from .share import ShareLinks
from .status_json import Status
from .story_request import StoryBody
from .v1 import schema

NOT_DESCRIBED = (  # besides the files that the page loads
    *("/openapi.json", "/docs"),
    "/v1/realtime/video",  # a WebSocket, which OpenAPI has no words for
)


@dataclass(frozen=True)
class Operation:
    """One operation of one path.

    Args:
        method, path: in small letters; as OpenAPI writes it.
        summary: what it does.
        answer: the model of its answer, or its media types with commas.
        body: the model of its JSON body.
        errors: the statuses of refusals.
        query: the parameters of its address, with their schemas.
        status: of its answer.
        file: the field of a form that is a picture.
        form: the model of the form's other fields.
        unavailable: the model of its answer with status 503; None: that of every refusal.
    """

    method: str
    path: str
    summary: str
    answer: type | str
    body: type[BaseModel] | None = None
    errors: tuple[int, ...] = (401, 404)
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    status: int = 200
    file: str | None = None
    form: type[BaseModel] | None = None
    unavailable: type | None = None


NOTHING = ""  # the answer of an operation without one
_PAGE = {
    "after": {"type": "string", "description": "id of the last film of the page before"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
}
_FILMS = {
    "before": {"type": "integer", "minimum": 1, "description": "id of the last film before"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 24},
}
_VARIANT = {"type": "string", "enum": ["video", "thumbnail", "spritesheet"], "default": "video"}
_VERSION = {"type": "string", "description": "thumbnail_version of /status, to be cached by"}
_PROMPT = {"type": "string", "maxLength": PROMPT_LIMIT}
_MADE = (400, 401, 403, 404, 413, 415, 503)
_READ = (401, 403, 404)
_WATCHED = (401, 404, 503)
_FILM, _STREAM = "/v1/videos/{id}", "/streams/{id}"
_HLS = "application/vnd.apple.mpegurl"
_PICTURE = {"file": schema.PICTURE, "form": schema.CreateVideoForm}
_VIDEOS = (
    Operation("get", "/v1/models", "List the model", schema.ModelList, errors=(401,)),
    Operation("get", "/v1/models/{name}", "Show the model", schema.Model),
    Operation(
        *("get", "/v1/videos", "List films", schema.VideoList),
        errors=(400, 401, 403),
        query=_PAGE,
    ),
    Operation(
        *("post", "/v1/videos", "Ask for a film", schema.Video, schema.CreateVideo, _MADE),
        **_PICTURE,
    ),
    Operation(
        *("post", "/v1/videos/sync", "Make a film and wait for its file", "video/mp4"),
        *(schema.CreateVideo, (*_MADE, 409)),
        **_PICTURE,
    ),
    Operation("get", _FILM, "Show how far a film is", schema.Video, errors=_READ),
    Operation(
        *("delete", _FILM, "Remove or cancel a film", schema.DeletedVideo), errors=(*_READ, 503)
    ),
    Operation(
        *("get", f"{_FILM}/content", "Get the file of a film, or a picture of it"),
        "video/mp4, image/webp",
        errors=(400, 401, 403, 404, 409, 503),
        query={"variant": _VARIANT},
    ),
    Operation(
        *("post", f"{_FILM}/remix", "Continue a film under a new prompt", schema.Video),
        *(schema.RemixVideo, (*_MADE, 409)),
    ),
)
_JOBS = (
    Operation("get", "/streams", "List the streams", StreamList, errors=(401, 403)),
    Operation(
        *("post", "/streams", "Ask for a stream", Stream, StreamRequest),
        errors=(*_MADE, 409),
        status=201,
        file="image",
        form=StreamRequest,
    ),
    Operation("get", _STREAM, "Show a stream", Stream, errors=_READ),
    Operation("delete", _STREAM, "End or cancel a stream", NOTHING, errors=_READ, status=204),
)
_OF_A_STREAM = (
    Operation("get", f"{_STREAM}/", "The page of a stream", "text/html"),
    Operation("get", f"{_STREAM}/status", "Show the state of a stream", Status),
    Operation(
        *("post", f"{_STREAM}/prompt", "Change the prompt", AcceptedPrompt, PromptBody, _MADE),
        status=202,
    ),
    Operation(
        *("put", f"{_STREAM}/story", "Replace the prompts to come", ComingPrompts, StoryBody),
        errors=(*_MADE, 409),
        status=202,
    ),
    Operation(
        *("post", f"{_STREAM}/image", "Cut to a picture", AcceptedPrompt),
        errors=_MADE,
        status=202,
        file="image",
        form=CutForm,
    ),
    Operation(
        *("post", f"{_STREAM}/command", "Give a command such as /pause", "text/plain"),
        *(CommandBody, _MADE),
        status=202,
    ),
    Operation("get", f"{_STREAM}/live.mp4", "Watch a stream", "video/mp4", errors=_WATCHED),
    Operation("get", f"{_STREAM}/live.m3u8", "Watch a stream as HLS", _HLS, errors=_WATCHED),
    Operation(
        *("get", f"{_STREAM}/init.mp4", "Get the initialization segment of the HLS stream"),
        *("video/mp4", None, _WATCHED),
    ),
    Operation(
        *("get", f"{_STREAM}/segment{{number}}.m4s", "Get a segment of the HLS stream"),
        *("video/mp4", None, _WATCHED),
    ),
    Operation(
        *("get", f"{_STREAM}/thumbnails/{{start}}.jpg", "Get a picture of the block at a frame"),
        *("image/jpeg", None, _WATCHED),
        query={"v": _VERSION},
    ),
    Operation(
        *("get", f"{_STREAM}/download", "Get the recording so far", "video/mp4"), errors=_WATCHED
    ),
    Operation("get", f"{_STREAM}/share", "List addresses for other devices", ShareLinks),
)
_GALLERY = (
    Operation(
        *("get", "/films", "List films that are not written now", FilmList),
        errors=(400, 401),
        query=_FILMS,
    ),
    Operation("get", "/films/{id}.mp4", "Get a film", "video/mp4", errors=_WATCHED),
    Operation("get", "/films/{id}.jpg", "Get a frame of a film", "image/jpeg"),
    Operation("delete", "/films/{id}", "Remove a film", NOTHING, errors=(*_READ, 503), status=204),
)
_MODEL = (
    Operation(
        *("get", "/words", "Find the unknown words of a prompt, or list the known ones"),
        *(KnownWords, None, (400, 401)),
        query={"prompt": _PROMPT},
    ),
    Operation("get", "/examples", "List prompts to begin with", Examples, errors=(401,)),
)
_OPERATIONS = (
    Operation("get", "/health", "Check that the server answers", Health, errors=()),
    Operation(
        *("get", "/ready", "Check that a stream could be made", Ready),
        errors=(503,),
        unavailable=Unavailable,
    ),
    Operation(
        *("get", "/metrics", "Get metrics for Prometheus"),
        "text/plain, application/openmetrics-text",
        errors=(401,),
    ),
)
_FLEET = (
    Operation(
        *("get", "/fleet", "Show the replicas and the counters", FleetState), errors=(401, 403)
    ),
    Operation(
        *("post", "/fleet/drain", "Move the streams of a replica away", DrainedReplica),
        *(ReplicaBody, _MADE),
        status=202,
    ),
)
_OF_THE_NEWEST = tuple(replace(each, path=each.path.removeprefix(_STREAM)) for each in _OF_A_STREAM)
GROUPS = {  # all operations, by the heading below which they are shown
    "Videos": _VIDEOS,
    "Streams": _JOBS,
    "One stream": _OF_A_STREAM,
    "Newest stream": _OF_THE_NEWEST,
    "Recorded films": _GALLERY,
    "Model": _MODEL,
    "Monitoring": _OPERATIONS,
    "Fleet": _FLEET,
}
