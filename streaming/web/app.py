"""The HTTP API of the live page and of other players.

`/streams/ID/` is the page of a stream, `live.mp4` below it the stream from its newest block on,
`live.m3u8` the same for players of playlists, `status` the state of the run as JSON,
`thumbnails/N.jpg` the picture of the block that starts at frame N. `prompt` and `command` control
the stream, `image` cuts to a picture, `story` replaces its prompts to come, `download` is the
recording so far, `share` has the addresses for other clients. The same paths without `/streams/ID`
mean the newest stream. `/streams` lists, adds and cancels the jobs of a server, `/words` finds
unknown words of a prompt, `/examples` has prompts to begin with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path, PurePath

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sana_stream.errors import CommandError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.outputs.hls_playlist import playlist_entry, playlist_head
from sana_stream.streaming.web.realtime.endpoint import realtime_routes
from sana_stream.streaming.web.v1.routes import video_routes
from sana_stream.streaming.web.v1.videos import KeptRecordings, Videos

from .auth import AccessMiddleware, AccessPolicy, Role, require_control
from .cors import cors_middleware
from .cut import cut_handler
from .docs import docs_routes
from .errors import answer_error
from .films import Films, film_routes
from .fleet import FleetStatus, fleet_routes
from .health import Readiness, health_routes, readiness_of
from .jobs import JobHandlers
from .live_feed import LiveFeed
from .metrics import ServerMetrics
from .prompt_answer import ComingPrompts, answer_accepted
from .registry import ActiveStream, StreamRegistry
from .request_body import read_command, read_prompt
from .request_metrics import RequestMetricsMiddleware, metrics_route
from .responses import GrowingFileResponse, JsonResponse, StreamedResponse, busy, hold
from .root_path import RootPathMiddleware, relative_page
from .served_model import ANY_MODEL, ServedModel, model_routes
from .share import share_handler
from .slots import Slots
from .state_metrics import StateCollector
from .status_json import (
    ClientStatus,
    EmptyStatus,
    RunningStream,
    WaitingStatus,
    coming_of,
    prompts_from_now,
    status_of,
)
from .story_request import read_schedule, require_future

_PAGE = "page.html"
_KINDS = {  # of the files that the page loads
    ".css": "text/css",
    ".js": "text/javascript",
    ".webp": "image/webp",
}
_OF_STREAM = "/streams/{id}"
_IMMUTABLE = "private, max-age=86400, immutable"
_SLICE = 1 << 16  # bytes sent at once: no more is buffered for a slow viewer
SEGMENT_SECONDS = 30.0  # for a viewer to receive one block


@dataclass(frozen=True, slots=True)
class Limits:
    """How many clients may watch, and how many may download, at the same time."""

    viewers: int = 256
    downloads: int = 64


def create_app(
    streams: StreamRegistry,
    access: AccessPolicy,
    jobs: JobQueue | None = None,
    limits: Limits = Limits(),
    fleet: FleetStatus | None = None,
    ready: Readiness | None = None,
    metrics: ServerMetrics | None = None,
    model: ServedModel = ANY_MODEL,
    films: Films | None = None,
    recordings: KeptRecordings | None = None,
) -> Starlette:
    """The web application that shows streams to clients that have access.

    With `jobs` it also serves `/streams`, with `fleet` also `/fleet`. `ready` finds why no stream
    could be made now; `metrics` counts those of `streams`; `model` makes them; `films` are served
    as `/films`. With `jobs` and their `recordings` it also serves the videos API.
    """
    ready, metrics = ready or readiness_of(streams), metrics or ServerMetrics()
    metrics.registry.register(StateCollector(streams, ready, jobs, fleet))
    job_handlers = None if jobs is None else JobHandlers(jobs)
    handlers = _Handlers(streams, job_handlers, limits, model)
    share, cut = share_handler(access), cut_handler(handlers.require_control, model)
    routes: list[BaseRoute] = [
        Route(path, handlers.file, methods=["GET"]) for path in handlers.files
    ]
    for prefix in ("", _OF_STREAM):
        routes += [
            Route(f"{prefix}/", handlers.page, methods=["GET"]),
            Route(f"{prefix}/live.mp4", handlers.live, methods=["GET"]),
            Route(f"{prefix}/live.m3u8", handlers.playlist, methods=["GET"]),
            Route(f"{prefix}/init.mp4", handlers.init, methods=["GET"]),
            Route(f"{prefix}/segment{{number}}.m4s", handlers.segment, methods=["GET"]),
            Route(f"{prefix}/status", handlers.status, methods=["GET"]),
            Route(f"{prefix}/prompt", handlers.prompt, methods=["POST"]),
            Route(f"{prefix}/story", handlers.story, methods=["PUT"]),
            Route(f"{prefix}/thumbnails/{{start:int}}.jpg", handlers.thumbnail, methods=["GET"]),
            Route(f"{prefix}/command", handlers.command, methods=["POST"]),
            Route(f"{prefix}/image", cut, methods=["POST"]),
            Route(f"{prefix}/share", share, methods=["GET"]),
            Route(f"{prefix}/download", handlers.download, methods=["GET"]),
        ]
    routes += model_routes(model)
    if job_handlers is not None:
        routes += [
            Route("/streams", job_handlers.list_or_submit, methods=["GET", "POST"]),
            Route(_OF_STREAM, job_handlers.show_or_cancel, methods=["GET", "DELETE"]),
        ]
    if jobs is not None:
        routes += realtime_routes(jobs, streams, model)
    if films is not None:
        routes += film_routes(films, handlers.send_file)
    if jobs is not None and recordings is not None:
        routes += video_routes(Videos(recordings, jobs, streams), model, handlers.send_file)
    if fleet is not None:
        routes += fleet_routes(fleet)
    routes += [*health_routes(ready), metrics_route(metrics)]
    routes += docs_routes(routes)
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(RootPathMiddleware, root_path=access.web.root_path),
            Middleware(RequestMetricsMiddleware, metrics=metrics, routes=routes),
            *cors_middleware(access.web),
            Middleware(AccessMiddleware, access=access),
        ],
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
    """Answers requests about the stream that the address names, or about the newest one."""

    def __init__(
        self,
        streams: StreamRegistry,
        jobs: JobHandlers | None,
        limits: Limits,
        model: ServedModel,
    ) -> None:
        self._model = model
        self._streams = streams
        self._jobs = jobs
        self._downloads = Slots(limits.downloads, "downloads are running")
        self._viewers = Slots(limits.viewers, "viewers are watching")  # all streams
        folder = resources.files(__package__ or "").joinpath("static")
        self._page = folder.joinpath(_PAGE).read_bytes()
        self.files = {  # by path
            f"/{file.name}": (file.read_bytes(), _KINDS[suffix])
            for file in folder.iterdir()
            if (suffix := PurePath(file.name).suffix) in _KINDS
        }

    async def file(self, request: Request) -> Response:
        content, kind = self.files[request.scope["path"]]
        return Response(content, media_type=kind)

    async def page(self, request: Request) -> Response:
        self._find(request)
        page = relative_page(self._page, request.scope["path"])
        return Response(page, media_type="text/html")

    async def status(self, request: Request) -> Response:
        stream, job = self._find(request)
        may_control = request.state.role is Role.CONTROL
        running = [RunningStream(each.id, each.status.title) for each in self._streams.running]
        client = ClientStatus(may_control, may_control and self._jobs is not None, running)
        if stream is not None:
            coming = coming_of(stream)
            unknown = await self._model.unknown_of(prompts_from_now(stream, coming))
            return JsonResponse(asdict(status_of(stream, client, coming, unknown)))
        if job is None or self._jobs is None:
            return JsonResponse(asdict(EmptyStatus(**vars(client))))
        facts = {"state": job.state, "stream": job.id, "title": job.request.title}
        waiting = WaitingStatus(**vars(client), **facts, place=self._jobs.place(job))
        return JsonResponse(asdict(waiting))

    async def live(self, request: Request) -> Response:
        stream = self._require_stream(request)
        if request.method == "HEAD":  # without a body, which would last until the stream ends
            return Response(media_type="video/mp4")
        self._viewers.take()
        hold(request)
        response = StreamedResponse(self._watch(stream.feed), media_type="video/mp4")
        return self._viewers.hold(response)

    async def _watch(self, feed: LiveFeed) -> AsyncIterator[bytes]:
        feed.viewers += 1
        try:
            yield feed.init
            number = None
            while segment := await feed.after(number):
                async for part in _sliced(segment.data):
                    yield part
                number = segment.number
        finally:
            feed.viewers -= 1
            feed.touch()

    async def playlist(self, request: Request) -> Response:
        feed = self._require_stream(request).feed
        feed.touch()
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
        return Response(self._require_stream(request).feed.init, media_type="video/mp4")

    async def segment(self, request: Request) -> Response:
        number = request.path_params["number"]
        for segment in self._require_stream(request).feed.segments():
            if str(segment.number) == number:
                length = {"content-length": str(len(segment.data))}
                parts = _sliced(segment.data)
                return StreamedResponse(parts, headers=length, media_type="video/mp4")
        raise HTTPException(404, "this block is not available any more")

    async def prompt(self, request: Request) -> Response:
        stream = self.require_control(request)
        prompt, blocks = await read_prompt(request)
        try:
            prompt = stream.control.prompt(prompt, blocks)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        if not prompt:
            raise HTTPException(400, "the prompt is empty")
        return await answer_accepted(self._model, stream, prompt)

    async def story(self, request: Request) -> Response:
        stream = self.require_control(request)
        cues = await read_schedule(request)
        require_future(cues, stream.status.snapshot())
        try:
            await run_in_threadpool(stream.control.replace_story, cues)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        return JsonResponse(asdict(ComingPrompts(list(coming_of(stream)))), 202)

    async def thumbnail(self, request: Request) -> Response:
        thumbnails = self._require_stream(request).status.thumbnails
        picture = await run_in_threadpool(thumbnails.find, request.path_params["start"])
        if picture is None:
            raise HTTPException(404, "this block has no thumbnail, or not any more")
        is_named = request.query_params.get("v") == thumbnails.version
        headers = {"cache-control": _IMMUTABLE} if is_named else None
        return Response(picture, media_type="image/jpeg", headers=headers)

    async def command(self, request: Request) -> Response:
        stream = self.require_control(request)
        command = await read_command(request)
        if not command.startswith("/"):
            raise HTTPException(400, "a command begins with a slash, such as /pause")
        try:
            stream.control.submit(command, remote=True)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        return PlainTextResponse("ok\n", 202)

    async def download(self, request: Request) -> Response:
        stream = self._require_stream(request)
        if stream.recording is None:
            raise HTTPException(404, "this stream is not recorded")
        complete = stream.status.snapshot().state == "finished"
        return await self.send_file(request, stream.recording, complete)

    async def send_file(self, request: Request, path: Path, complete: bool) -> Response:
        """A recording, or a part of it, as far as downloads are allowed."""
        self._downloads.take()
        ranges, if_range = (request.headers.get(name) for name in ("range", "if-range"))
        try:
            response = await run_in_threadpool(
                *(GrowingFileResponse, path, complete, ranges, if_range),
                request.method == "HEAD",
            )
        except BaseException as error:
            self._downloads.give_back()
            if isinstance(error, OSError | ValueError):
                raise HTTPException(404, "this stream is not recorded") from error
            raise
        hold(request)
        return self._downloads.hold(response)

    def _find(self, request: Request) -> tuple[ActiveStream | None, StreamJob | None]:
        """The stream that the address names; its job, where it has not begun.

        Raises:
            HTTPException: no stream has this id.
        """
        stream_id = request.path_params.get("id")
        if stream_id is None:
            return self._streams.newest, None
        stream = self._streams.find(stream_id)
        job = None if self._jobs is None or stream is not None else self._jobs.find(stream_id)
        if stream is None and job is None:
            raise HTTPException(404, "no stream has this id")
        return stream, job

    def _require_stream(self, request: Request) -> ActiveStream:
        stream, job = self._find(request)
        if stream is not None:
            return stream
        if job is not None and job.is_over:
            raise HTTPException(404, f"this stream was {job.state} before it began")
        place = None if job is None or self._jobs is None else self._jobs.place(job)
        if place is not None:
            raise busy(f"this stream has not begun; its place in the queue is {place}")
        raise busy("no stream has begun")

    def require_control(self, request: Request) -> ActiveStream:
        require_control(request)
        return self._require_stream(request)
