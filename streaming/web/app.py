"""The HTTP API of the live page and of other players.

`/` is the page, `/live.mp4` the stream from its newest block on, `/live.m3u8` the same for players
of playlists, `/status` the state of the run as JSON. `/prompt` and `/command` control the stream,
`/download` is the recording so far. `/streams` lists, adds and cancels the jobs of a server.
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
    """Answers requests about the jobs of a server; they need the role CONTROL."""

    def __init__(self, jobs: JobQueue) -> None:
        self._queue = jobs

    async def list_or_submit(self, request: Request) -> Response:
        """GET: every job, oldest first. POST: add one.

        A job is `{"story": "…", "seed": 0, "seconds": 60}`; only the story is required.
        """
        require_control(request)
        if request.method == "POST":
            return await self._submit(request)
        return JsonResponse([job.as_dict() for job in self._queue.jobs()])

    async def cancel(self, request: Request) -> Response:
        """DELETE: cancel the job of this number."""
        require_control(request)
        number = request.path_params["number"]
        known = {str(job.number) for job in self._queue.jobs()}
        if number not in known or not self._queue.cancel(int(number)):
            raise HTTPException(404, "no stream of this number is queued or running")
        return Response(status_code=204)

    async def _submit(self, request: Request) -> Response:
        fields = await read_json(request)
        try:
            job = await run_in_threadpool(self._queue.submit, fields)
        except QueueFullError as error:
            raise HTTPException(503, str(error)) from error
        except JobError as error:
            raise HTTPException(400, str(error)) from error
        return JsonResponse(job.as_dict(), 201)


_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/player.js": ("player.js", "text/javascript"),
}
_SLICE = 1 << 16  # bytes sent at once: no more is buffered for a slow viewer
SEGMENT_SECONDS = 30.0  # for a viewer to receive one block


@dataclass(frozen=True, slots=True)
class Limits:
    """How many clients may watch, and how many may download, at the same time."""

    viewers: int = 256
    downloads: int = 64


def create_app(
    current: CurrentStream,
    access: AccessPolicy,
    jobs: JobQueue | None = None,
    limits: Limits = Limits(),
) -> Starlette:
    """The web application that shows the current stream to clients that have access.

    With `jobs` it also serves `/streams`.
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
        job_handlers = JobHandlers(jobs)
        routes += [
            Route("/streams", job_handlers.list_or_submit, methods=["GET", "POST"]),
            Route("/streams/{number}", job_handlers.cancel, methods=["DELETE"]),
        ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(AccessMiddleware, access=access)],
        exception_handlers={HTTPException: answer_error},
    )
    app.router.redirect_slashes = False  # the target would come from the client's headers
    return app


async def _sliced(data: bytes) -> AsyncIterator[bytes]:
    """Data in slices, as fast as the client takes it; TimeoutError if that is too slow."""
    begun = asyncio.get_running_loop().time()
    for begin in range(0, len(data), _SLICE):
        if asyncio.get_running_loop().time() - begun > SEGMENT_SECONDS:
            raise TimeoutError("a block was not received in time")
        yield data[begin : begin + _SLICE]


class _Handlers:
    def __init__(self, current: CurrentStream, jobs: JobQueue | None, limits: Limits) -> None:
        self._current = current
        self._limits = limits
        self._downloads = 0
        self._takes_jobs = jobs is not None
        self._viewers = 0
        folder = resources.files(__package__ or "").joinpath("static")
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()
        }

    async def page(self, request: Request) -> Response:
        content, kind = self._files[request.url.path]
        return Response(content, media_type=kind)

    async def status(self, request: Request) -> Response:
        stream = self._current.stream
        may_control = request.state.role is Role.CONTROL
        may = {"may_direct": may_control, "may_begin": may_control and self._takes_jobs}
        if stream is None:
            return JsonResponse({"state": "empty", **may})
        snapshot = stream.status.snapshot()
        paused = stream.control.paused and snapshot.state != "finished"
        return JsonResponse(
            {
                **snapshot.as_dict(),
                "state": "paused" if paused else snapshot.state,
                "stream": stream.number,
                "waiting_prompt": stream.control.waiting_prompt,
                "mime": stream.feed.mime,
                "viewers": self._viewers,
                **may,
                "may_download": stream.recording is not None,
            }
        )

    async def live(self, request: Request) -> Response:
        stream = self._require_stream()
        if request.method == "HEAD":  # without a body, which would last until the stream ends
            return Response(media_type="video/mp4")
        if self._viewers >= self._limits.viewers:
            raise HTTPException(503, f"{self._viewers} viewers are watching; try again later")
        _hold(request)
        return StreamedResponse(self._watch(stream.feed), media_type="video/mp4")

    async def _watch(self, feed: LiveFeed) -> AsyncIterator[bytes]:
        self._viewers += 1
        try:
            yield feed.init
            number = None
            while segment := await feed.after(number):
                async for part in _sliced(segment.data):
                    yield part
                number = segment.number
        finally:
            self._viewers -= 1

    async def playlist(self, request: Request) -> Response:
        feed = self._require_stream().feed
        segments = feed.segments()
        if not segments:
            raise HTTPException(503, "the first block is being generated")
        query = request.state.query
        head = playlist_head(feed.target_duration, segments[0].number, "init.mp4" + query)
        text = head + "".join(
            playlist_entry(segment.seconds, f"segment{segment.number}.m4s{query}")
            for segment in segments
        )
        end = "#EXT-X-ENDLIST\n" if feed.closed else ""
        return Response(text + end, media_type="application/vnd.apple.mpegurl")

    async def init(self, request: Request) -> Response:
        return Response(self._require_stream().feed.init, media_type="video/mp4")

    async def segment(self, request: Request) -> Response:
        number = request.path_params["number"]
        for segment in self._require_stream().feed.segments():
            if str(segment.number) == number:
                length = {"content-length": str(len(segment.data))}
                parts = _sliced(segment.data)
                return StreamedResponse(parts, headers=length, media_type="video/mp4")
        raise HTTPException(404, "this block is not available any more")

    async def prompt(self, request: Request) -> Response:
        stream = self._require_control(request)
        text = await read_text(request)
        if not text:
            raise HTTPException(400, "the prompt is empty")
        try:
            stream.control.prompt(text)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        frame = stream.feed.frames
        return JsonResponse({"prompt": text, "from_frame_or_later": frame}, 202)

    async def command(self, request: Request) -> Response:
        stream = self._require_control(request)
        text = await read_text(request)
        if not text.startswith("/"):
            raise HTTPException(400, "a command begins with a slash, such as /pause")
        try:
            stream.control.submit(text, remote=True)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        return PlainTextResponse("ok\n", 202)

    async def download(self, request: Request) -> Response:
        stream, headers_only = self._require_stream(), request.method == "HEAD"
        if stream.recording is None:
            raise HTTPException(404, "this stream is not recorded")
        if self._downloads >= self._limits.downloads:
            raise HTTPException(503, f"{self._downloads} downloads are running; try again later")
        complete = stream.status.snapshot().state == "finished"
        ranges, if_range = (request.headers.get(name) for name in ("range", "if-range"))
        try:
            response = await run_in_threadpool(
                GrowingFileResponse, stream.recording, complete, ranges, if_range, headers_only
            )
        except (OSError, ValueError) as error:
            raise HTTPException(404, "this stream is not recorded") from error
        response.body_iterator = self._counted(response.body_iterator)
        _hold(request)
        return response

    async def _counted(self, parts: AsyncIterable[Any]) -> AsyncIterator[Any]:
        self._downloads += 1
        try:
            async for part in parts:
                yield part
        finally:
            self._downloads -= 1

    def _require_stream(self) -> ActiveStream:
        if self._current.stream is None:
            raise HTTPException(503, "no stream has begun")
        return self._current.stream

    def _require_control(self, request: Request) -> ActiveStream:
        require_control(request)
        return self._require_stream()


def _hold(request: Request) -> None:
    """Mark the connection as one that stays open for long."""
    hold = request.scope["state"].get("hold")
    if hold is not None:
        hold()
