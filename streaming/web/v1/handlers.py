"""Answers requests of the videos API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sana_stream._text import os_reason, safe_text
from sana_stream.errors import BranchError, ConfigError, JobError, QueueFullError, StoreError
from sana_stream.streaming.control.stream_request import VideoSettings
from sana_stream.streaming.web.auth import require_control
from sana_stream.streaming.web.errors import ApiError
from sana_stream.streaming.web.film_pictures import FilmPictures, spritesheet, thumbnail
from sana_stream.streaming.web.films import SendFile
from sana_stream.streaming.web.responses import RETRY_SECONDS, JsonResponse, hold
from sana_stream.streaming.web.served_model import ServedModel

from .request import read_create, read_fields, seconds_of
from .schema import PICTURE, CreateVideo, DeletedVideo, RemixVideo, VideoList
from .video_index import KeptVideo
from .videos import Videos

POLL_MS = 500  # after which a client asks again how far a film is
_POLL = 0.1  # seconds between two looks at a film that a request waits for
MOST_LISTED = 100
_LISTED = 20
_PICTURES: dict[str, Callable] = {"thumbnail": thumbnail, "spritesheet": spritesheet}
_FIELDS = {"picture": PICTURE, "branch_from": "video_id"}  # of a stream, as this API names them


class VideoHandlers:
    """Answers requests about films; they need the role CONTROL.

    Args:
        films: of the server.
        model: makes them.
        send_file: sends their files.
    """

    def __init__(self, films: Videos, model: ServedModel, send_file: SendFile) -> None:
        self._films = films
        self._model = model
        self._send_file = send_file
        self._pictures = FilmPictures()

    async def create(self, request: Request) -> Response:
        """POST: queue a film."""
        require_control(request)
        return await self._shown(await self._create(request))

    async def sync(self, request: Request) -> Response:
        """POST: make a film, and answer with the file once it is whole.

        It is cancelled when the client disconnects, and when the server ends.
        """
        require_control(request)
        film = await self._create(request, keep=False)
        hold(request)
        while not film.is_over:
            if await request.is_disconnected():
                await run_in_threadpool(self._films.remove, film)
                return Response(status_code=499)
            await asyncio.sleep(_POLL)
            film = await run_in_threadpool(self._find, film.id)
        return await self._video(request, film)

    async def list(self, request: Request) -> Response:
        """GET: the films, newest first."""
        require_control(request)
        after, limit, descending = _page_of(request)
        films = await run_in_threadpool(self._films.all)
        films = films[::-1] if descending else films
        if after is not None:
            places = [place for place, film in enumerate(films) if film.id == after]
            if not places:
                raise ApiError(400, "after: no film has this id", "after", "invalid_value")
            films = films[places[0] + 1 :]
        shown = films[:limit]
        answer = VideoList(
            data=[self._films.describe(film) for film in shown],
            first_id=shown[0].id if shown else None,
            last_id=shown[-1].id if shown else None,
            has_more=len(films) > limit,
        )
        return JsonResponse(answer.model_dump())

    async def retrieve(self, request: Request) -> Response:
        """GET: how far a film is."""
        return await self._shown(await self._require(request))

    async def delete(self, request: Request) -> Response:
        """DELETE: remove a film and its file; one that is being made is cancelled."""
        film = await self._require(request)
        try:
            await run_in_threadpool(self._films.remove, film)
        except (OSError, ConfigError) as error:
            message = f"the film cannot be removed: {os_reason(error)}; try again later"
            raise ApiError(503, message, code="not_removed") from error
        return JsonResponse(DeletedVideo(id=film.id).model_dump())

    async def content(self, request: Request) -> Response:
        """GET: the file of a film, or the picture that `variant` names."""
        film = await self._require(request)
        variant = request.query_params.get("variant", "video")
        if variant not in ("video", *_PICTURES):
            message = f"variant {safe_text(variant, 40)!r}: give video, thumbnail or spritesheet"
            raise ApiError(400, message, "variant", "invalid_value")
        if variant == "video":
            return await self._video(request, film)
        path = self._require_file(film)
        try:
            picture = await run_in_threadpool(self._pictures.get, path, _PICTURES[variant])
        except (OSError, ValueError) as error:
            raise ApiError(404, "the film cannot be decoded", code="video_not_found") from error
        return Response(picture, media_type="image/webp")

    async def remix(self, request: Request) -> Response:
        """POST: queue a film that continues another one from its end, under a new prompt."""
        source = await self._require(request)
        wanted = await read_fields(request, RemixVideo)
        self._require_file(source)
        given = source.seconds if wanted.seconds is None else wanted.seconds
        seconds = seconds_of(given)
        fields = {
            "prompt": wanted.prompt,
            "seconds": seconds,
            "realtime": False,
            "branch_from": {"stream": source.stream},
        }
        facts = {**_facts(source), "prompt": wanted.prompt, "seconds": f"{seconds:g}"}
        return await self._shown(await self._submit(fields, facts, remixed_from=source.id))

    async def _create(self, request: Request, keep: bool = True) -> KeptVideo:
        wanted, picture = await read_create(request, self._model)
        fields, seconds = _stream_fields(wanted, self._model.fps)
        facts = {
            "model": self._model.name,
            "prompt": wanted.title,
            "seconds": f"{seconds:g}",
            "size": wanted.size or self._model.size,
        }
        return await self._submit(fields, facts, picture=picture, keep=keep)

    async def _submit(self, fields: dict[str, object], facts: dict[str, str], **more) -> KeptVideo:
        try:
            return await run_in_threadpool(self._films.submit, fields, facts, **more)
        except (QueueFullError, StoreError) as error:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            raise ApiError(503, str(error), code="overloaded", headers=headers) from error
        except JobError as error:
            status = 409 if isinstance(error, BranchError) else 400
            param = _FIELDS.get(error.field or "", error.field)
            raise ApiError(status, str(error), param, "invalid_value") from error

    async def _shown(self, film: KeptVideo) -> Response:
        video = await run_in_threadpool(self._films.describe, film)
        headers = {} if film.is_over else {"openai-poll-after-ms": str(POLL_MS)}
        return JsonResponse(video.model_dump(), headers=headers)

    async def _video(self, request: Request, film: KeptVideo) -> Response:
        try:
            return await self._send_file(request, self._require_file(film), True)
        except HTTPException as error:
            if error.status_code != 404:
                raise
            raise _missing() from error

    async def _require(self, request: Request) -> KeptVideo:
        require_control(request)
        return await run_in_threadpool(self._find, request.path_params["id"])

    def _find(self, film_id: str) -> KeptVideo:
        film = self._films.get(film_id)
        if film is None:
            raise _missing()
        return film

    def _require_file(self, film: KeptVideo):
        path = self._films.path(film)
        if path is not None:
            return path
        if film.error is not None:
            raise ApiError(409, f"the film has failed: {film.error}", code="video_failed")
        message = "the film is not complete yet: ask /v1/videos/ID for its progress"
        raise ApiError(409, message, code="video_not_ready")


def _missing() -> ApiError:
    return ApiError(404, "no film has this id, or its file was removed", "id", "video_not_found")


def _facts(film: KeptVideo) -> dict[str, str]:
    return {"model": film.model, "size": film.size}


def _stream_fields(wanted: CreateVideo, fps: float) -> tuple[dict[str, object], float]:
    """The fields of the stream that makes a film, and the film's length in seconds."""
    fields: dict[str, object] = {
        **wanted.model_dump(include=set(VideoSettings.model_fields), exclude_none=True),
        "realtime": False,
    }
    if wanted.num_frames is None:
        fields["seconds"] = seconds_of(wanted.seconds)
        return fields, seconds_of(wanted.seconds)
    return fields, seconds_of(wanted.num_frames / (wanted.fps or fps))


def _page_of(request: Request) -> tuple[str | None, int, bool]:
    """The cursor, the limit and whether the newest comes first; raises ApiError."""
    query = request.query_params
    if other := query.keys() - {"after", "limit", "order", "token"}:
        name = safe_text(min(other), 40)
        message = f"{name!r}: a list takes after, limit and order"
        raise ApiError(400, message, name, "unknown_parameter")
    limit, order = query.get("limit", str(_LISTED)), query.get("order", "desc")
    if not (limit.isascii() and limit.isdecimal() and 0 < int(limit[:9]) <= MOST_LISTED):
        message = f"limit {safe_text(limit, 20)!r}: give 1 to {MOST_LISTED}"
        raise ApiError(400, message, "limit", "invalid_value")
    if order not in ("asc", "desc"):
        message = f"order {safe_text(order, 20)!r}: give asc or desc"
        raise ApiError(400, message, "order", "invalid_value")
    return query.get("after"), int(limit), order == "desc"
