"""The live page and what it and other players ask for.

`/` the page, `/live.mp4` the stream from its newest block on, `/live.m3u8` the same for players of
playlists, `/status` everything there is to know as JSON, `/prompt` and `/command` to direct by,
`/download` the recording so far; `/streams` lists, takes and ends the orders of a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sana_stream.errors import CommandError, JobError, QueueFullError
from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.outputs.hls_playlist import playlist_entry, playlist_head

from .auth import AccessMiddleware, AccessPolicy, Role, require_control
from .live_feed import LiveFeed
from .request_body import read_json, read_text
from .responses import GrowingFileResponse, JsonResponse, StreamedResponse, answer_error
from .status import ActiveStream, CurrentStream


class JobHandlers:
    """Answers requests about a programme; only those who may direct see or change it."""

    def __init__(self, jobs: JobQueue) -> None:
        self._programme = jobs

    async def all_or_another(self, request: Request) -> Response:
        """Every order, oldest first; or take one more.

        An order is `{"story": "…", "seed": 0, "seconds": 60}`; only the story must be.
        """
        require_control(request)
        if request.method == "POST":
            return await self._submit(request)
        return JsonResponse([order.as_dict() for order in self._programme.jobs()])

    async def cancel(self, request: Request) -> Response:
        """End the order of this number."""
        require_control(request)
        number = request.path_params["number"]
        known = {str(order.number) for order in self._programme.jobs()}
        if number not in known or not self._programme.cancel(int(number)):
            raise HTTPException(404, "no such stream is waiting or on")
        return Response(status_code=204)

    async def _submit(self, request: Request) -> Response:
        fields = await read_json(request)
        try:
            order = await run_in_threadpool(self._programme.submit, fields)
        except QueueFullError as error:
            raise HTTPException(503, str(error)) from error
        except JobError as error:
            raise HTTPException(400, str(error)) from error
        return JsonResponse(order.as_dict(), 201)


_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/player.js": ("player.js", "text/javascript"),
}
_SLICE = 1 << 16  # bytes that are handed over at once: no more than that waits for a slow viewer
PIECE_SECONDS = 30.0  # for a viewer to take one block


@dataclass(frozen=True, slots=True)
class Limits:
    """How many may watch, and how many may download, at the same time."""

    viewers: int = 256
    downloads: int = 64


def create_app(
    current: CurrentStream,
    access: AccessPolicy,
    jobs: JobQueue | None = None,
    limits: Limits = Limits(),
) -> Starlette:
    """The web application that shows a stage to those who have access.

    With a programme it also takes orders for streams.
    """
    handlers = _Handlers(current, jobs, limits)
    routes = [
        *(Route(path, handlers.page, methods=["GET"]) for path in _PAGE),
        Route("/live.mp4", handlers.live, methods=["GET"]),
        Route("/live.m3u8", handlers.playlist, methods=["GET"]),
        Route("/init.mp4", handlers.init, methods=["GET"]),
        Route("/segment{number}.m4s", handlers.segment, methods=["GET"]),
        Route("/status", handlers.status, methods=["GET"]),
        Route("/prompt", handlers.prompt, methods=["POST"]),
        Route("/command", handlers.command, methods=["POST"]),
        Route("/download", handlers.download, methods=["GET"]),
    ]
    if jobs is not None:
        orders = JobHandlers(jobs)
        routes += [
            Route("/streams", orders.all_or_another, methods=["GET", "POST"]),
            Route("/streams/{number}", orders.cancel, methods=["DELETE"]),
        ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(AccessMiddleware, access=access)],
        exception_handlers={HTTPException: answer_error},
    )
    app.router.redirect_slashes = False  # to an address that the client's headers decide
    return app


async def _sliced(data: bytes) -> AsyncIterator[bytes]:
    """Data as fast as it is taken; TimeoutError where that is too slow."""
    begun = asyncio.get_running_loop().time()
    for begin in range(0, len(data), _SLICE):
        if asyncio.get_running_loop().time() - begun > PIECE_SECONDS:
            raise TimeoutError("a block was not taken in time")
        yield data[begin : begin + _SLICE]


class _Handlers:
    def __init__(self, stage: CurrentStream, programme: JobQueue | None, limits: Limits) -> None:
        self._stage = stage
        self._limits = limits
        self._downloads = 0
        self._takes_orders = programme is not None
        self._viewers = 0
        folder = resources.files(__package__ or "").joinpath("static")
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()
        }

    async def page(self, request: Request) -> Response:
        content, kind = self._files[request.url.path]
        return Response(content, media_type=kind)

    async def status(self, request: Request) -> Response:
        show = self._stage.stream
        may_direct = request.state.role is Role.CONTROL
        may = {"may_direct": may_direct, "may_begin": may_direct and self._takes_orders}
        if show is None:
            return JsonResponse({"state": "empty", **may})
        snapshot = show.status.snapshot()
        paused = show.control.paused and snapshot.state != "finished"
        return JsonResponse(
            {
                **snapshot.as_dict(),
                "state": "paused" if paused else snapshot.state,
                "stream": show.number,
                "waiting_prompt": show.control.waiting_prompt,
                "mime": show.feed.mime,
                "viewers": self._viewers,
                **may,
                "may_download": show.recording is not None,
            }
        )

    async def live(self, request: Request) -> Response:
        show = self._require_show()
        if request.method == "HEAD":  # which would wait for the stream's end
            return Response(media_type="video/mp4")
        if self._viewers >= self._limits.viewers:
            raise HTTPException(503, f"{self._viewers} are watching already; try again later")
        _hold(request)
        return StreamedResponse(self._watch(show.feed), media_type="video/mp4")

    async def _watch(self, feed: LiveFeed) -> AsyncIterator[bytes]:
        self._viewers += 1
        try:
            yield feed.init
            number = None
            while piece := await feed.after(number):
                async for part in _sliced(piece.data):
                    yield part
                number = piece.number
        finally:
            self._viewers -= 1

    async def playlist(self, request: Request) -> Response:
        feed = self._require_show().feed
        pieces = feed.segments()
        if not pieces:
            raise HTTPException(503, "the first block is being made")
        query = request.state.query
        longest = max(piece.seconds for piece in pieces)
        text = playlist_head(longest, pieces[0].number, "init.mp4" + query) + "".join(
            playlist_entry(piece.seconds, f"segment{piece.number}.m4s{query}") for piece in pieces
        )
        end = "#EXT-X-ENDLIST\n" if feed.closed else ""
        return Response(text + end, media_type="application/vnd.apple.mpegurl")

    async def init(self, request: Request) -> Response:
        return Response(self._require_show().feed.init, media_type="video/mp4")

    async def segment(self, request: Request) -> Response:
        number = request.path_params["number"]
        for piece in self._require_show().feed.segments():
            if str(piece.number) == number:
                length = {"content-length": str(len(piece.data))}
                return StreamedResponse(_sliced(piece.data), headers=length, media_type="video/mp4")
        raise HTTPException(404, "this block is no longer kept")

    async def prompt(self, request: Request) -> Response:
        show = self._require_director(request)
        text = await read_text(request)
        if not text:
            raise HTTPException(400, "the prompt is empty")
        try:
            show.control.prompt(text)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        frame = show.feed.frames
        return JsonResponse({"prompt": text, "from_frame_or_later": frame}, 202)

    async def command(self, request: Request) -> Response:
        show = self._require_director(request)
        text = await read_text(request)
        if not text.startswith("/"):
            raise HTTPException(400, "a command begins with a slash")
        try:
            show.control.submit(text, remote=True)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        return PlainTextResponse("ok\n", 202)

    async def download(self, request: Request) -> Response:
        show, bare = self._require_show(), request.method == "HEAD"
        if show.recording is None:
            raise HTTPException(404, "this stream is not recorded")
        if self._downloads >= self._limits.downloads:
            raise HTTPException(503, f"{self._downloads} downloads are on; try again later")
        complete = show.status.snapshot().state == "finished"
        asked, unchanged = (request.headers.get(name) for name in ("range", "if-range"))
        try:
            answer = await run_in_threadpool(
                GrowingFileResponse, show.recording, complete, asked, unchanged, bare
            )
        except (OSError, ValueError) as error:
            raise HTTPException(404, "this stream is not recorded") from error
        answer.body_iterator = self._counted(answer.body_iterator)
        _hold(request)
        return answer

    async def _counted(self, parts: AsyncIterable[Any]) -> AsyncIterator[Any]:
        self._downloads += 1
        try:
            async for part in parts:
                yield part
        finally:
            self._downloads -= 1

    def _require_show(self) -> ActiveStream:
        if self._stage.stream is None:
            raise HTTPException(503, "no stream has begun")
        return self._stage.stream

    def _require_director(self, request: Request) -> ActiveStream:
        require_control(request)
        return self._require_show()


def _hold(request: Request) -> None:
    """Say that the connection stays open for long."""
    hold = request.scope["state"].get("hold")
    if hold is not None:
        hold()
