"""The films of a server: a list with prompts, their files and thumbnails, removal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sana_stream._text import os_reason
from sana_stream.errors import ConfigError

from .auth import Role, require_control
from .responses import JsonResponse, busy

PAGE = 24  # films of one answer, unless the request asks for fewer
_MOST = 100


@dataclass(frozen=True, slots=True)
class FilmPrompt:
    """A prompt of a film and when it is first shown."""

    seconds: float
    prompt: str


@dataclass(frozen=True, slots=True)
class Film:
    """A recording that is not written now.

    It is `finished` once its stream has ended, and `interrupted` while its stream, of an earlier
    server, is still to be resumed.
    """

    id: int  # of its stream
    prompts: tuple[FilmPrompt, ...]
    seconds: float
    width: int
    height: int
    bytes: int
    finished_at: int  # when it was last written, in seconds since 1970
    may_branch: bool  # whether a stream can begin as a branch of its end
    state: Literal["finished", "interrupted"]


@dataclass(frozen=True, slots=True)
class FilmList:
    """A part of the films, newest first."""

    films: list[Film]
    more: bool  # whether there are older ones
    may_delete: bool


class Films(Protocol):
    """The films of a server; methods are called from any thread."""

    def ids(self) -> list[int]:
        """The ids of the films, newest first."""
        ...

    def describe(self, film_id: int) -> Film | None:
        """A film; None where there is none, or none that can be read."""
        ...

    def thumbnail(self, film_id: int) -> bytes | None:
        """A frame of a film as JPEG; None where there is none."""
        ...

    def path(self, film_id: int) -> Path | None:
        """The file of a film; None where there is none."""
        ...

    def remove(self, film_id: int) -> bool:
        """Remove a film with what belongs to it; False where there is none.

        The stream of an interrupted one is not resumed.

        Raises:
            OSError, ConfigError: it cannot be removed.
        """
        ...


SendFile = Callable[[Request, Path, bool], Awaitable[Response]]
"""Sends a file, as far as downloads are allowed; the last argument: whether it is complete."""


class FilmHandlers:
    """Answers requests about films; every client with access may watch them."""

    def __init__(self, films: Films, send_file: SendFile) -> None:
        self._films = films
        self._send_file = send_file

    async def list(self, request: Request) -> Response:
        """GET: films, newest first; `before` is the id of the last one of the answer before."""
        limit = _whole(request, "limit", PAGE, _MOST)
        before = _whole(request, "before", 10**9, 10**9)
        films, more = await run_in_threadpool(self._page, before, limit)
        return JsonResponse(asdict(FilmList(films, more, request.state.role is Role.CONTROL)))

    async def file(self, request: Request) -> Response:
        """GET: the video."""
        path = await run_in_threadpool(self._films.path, request.path_params["id"])
        if path is None:
            raise _missing()
        return await self._send_file(request, path, True)

    async def thumbnail(self, request: Request) -> Response:
        """GET: a frame as JPEG."""
        picture = await run_in_threadpool(self._films.thumbnail, request.path_params["id"])
        if picture is None:
            raise _missing()
        return Response(picture, media_type="image/jpeg")

    async def remove(self, request: Request) -> Response:
        """DELETE: remove a film."""
        require_control(request)
        try:
            found = await run_in_threadpool(self._films.remove, request.path_params["id"])
        except (OSError, ConfigError) as error:
            raise busy(f"the film cannot be removed: {os_reason(error)}") from error
        if not found:
            raise _missing()
        return Response(status_code=204)

    def _page(self, before: int, limit: int) -> tuple[list[Film], bool]:
        ids = [each for each in self._films.ids() if each < before]
        found = [self._films.describe(each) for each in ids[:limit]]
        return [film for film in found if film is not None], len(ids) > limit


def film_routes(films: Films, send_file: SendFile) -> list[Route]:
    """The routes below `/films`."""
    handlers = FilmHandlers(films, send_file)
    return [
        Route("/films", handlers.list, methods=["GET"]),
        Route("/films/{id:int}", handlers.remove, methods=["DELETE"]),
        Route("/films/{id:int}.mp4", handlers.file, methods=["GET"]),
        Route("/films/{id:int}.jpg", handlers.thumbnail, methods=["GET"]),
    ]


def _whole(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and 1 <= int(text) <= most):
        raise HTTPException(400, f"{name}: give a number from 1 to {most}")
    return int(text)


def _missing() -> HTTPException:
    return HTTPException(404, "no film has this id, or it is being written")
