"""The live page and what it and other players ask for.

`/` the page, `/live.mp4` the stream from its newest block on, `/live.m3u8` the same for players of
playlists, `/status` everything there is to know as JSON, `/prompt` and `/command` to direct by,
`/download` the recording so far.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from .access import Access, Guard, Role
from .control import CommandError
from .feed import LiveFeed
from .hls import playlist_entry, playlist_head
from .stage import Show, Stage

BODY_LIMIT = 16 << 10  # bytes
BODY_SECONDS = 10.0
_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/player.js": ("player.js", "text/javascript"),
}


def make_app(stage: Stage, access: Access) -> Starlette:
    """The web application that shows a stage to those who have access."""
    handlers = _Handlers(stage)
    routes = [
        *(Route(path, handlers.page, methods=["GET"]) for path in _PAGE),
        Route("/live.mp4", handlers.live, methods=["GET"]),
        Route("/live.m3u8", handlers.playlist, methods=["GET"]),
        Route("/init.mp4", handlers.init, methods=["GET"]),
        Route("/segment{number:int}.m4s", handlers.segment, methods=["GET"]),
        Route("/status", handlers.status, methods=["GET"]),
        Route("/prompt", handlers.prompt, methods=["POST"]),
        Route("/command", handlers.command, methods=["POST"]),
        Route("/download", handlers.download, methods=["GET"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, access=access)])


class _Handlers:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._viewers = 0
        folder = resources.files(__package__ or "")
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()
        }

    async def page(self, request: Request) -> Response:
        content, kind = self._files[request.url.path]
        return Response(content, media_type=kind)

    async def status(self, request: Request) -> Response:
        show = self._stage.show
        may_direct = request.state.role is Role.DIRECT
        if show is None:
            return JSONResponse({"state": "empty", "may_direct": may_direct})
        snapshot = show.board.snapshot()
        paused = show.control.paused and snapshot.state != "finished"
        return JSONResponse(
            {
                **snapshot.as_dict(),
                "state": "paused" if paused else snapshot.state,
                "stream": show.number,
                "waiting_prompt": show.control.waiting_prompt,
                "mime": show.feed.mime,
                "viewers": self._viewers,
                "may_direct": may_direct,
                "may_download": show.recording is not None,
            }
        )

    async def live(self, request: Request) -> Response:
        show = self._require_show()
        return StreamingResponse(self._watch(show.feed), media_type="video/mp4")

    async def _watch(self, feed: LiveFeed) -> AsyncIterator[bytes]:
        self._viewers += 1
        try:
            yield feed.init
            number = None
            while piece := await feed.after(number):
                yield piece.data
                number = piece.number
        finally:
            self._viewers -= 1

    async def playlist(self, request: Request) -> Response:
        feed = self._require_show().feed
        pieces = feed.pieces()
        if not pieces:
            raise HTTPException(503, "the first block is being made")
        token = request.query_params.get("token")
        query = f"?token={token}" if token else ""
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
        for piece in self._require_show().feed.pieces():
            if piece.number == number:
                return Response(piece.data, media_type="video/mp4")
        raise HTTPException(404, "this block is no longer kept")

    async def prompt(self, request: Request) -> Response:
        show = self._require_director(request)
        text = await _text(request)
        if not text:
            raise HTTPException(400, "the prompt is empty")
        try:
            show.control.prompt(text)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        frame = show.feed.frames
        return JSONResponse({"prompt": text, "from_frame_or_later": frame}, 202)

    async def command(self, request: Request) -> Response:
        show = self._require_director(request)
        text = await _text(request)
        if not text.startswith("/"):
            raise HTTPException(400, "a command begins with a slash")
        try:
            show.control.say(text)
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        return PlainTextResponse("ok\n", 202)

    async def download(self, request: Request) -> Response:
        recording = self._require_show().recording
        if recording is None or not recording.exists():
            raise HTTPException(404, "this stream is not recorded")
        return FileResponse(recording, filename=recording.name)

    def _require_show(self) -> Show:
        if self._stage.show is None:
            raise HTTPException(503, "no stream has begun")
        return self._stage.show

    def _require_director(self, request: Request) -> Show:
        if request.state.role is not Role.DIRECT:
            raise HTTPException(403, "this token is for watching")
        return self._require_show()


async def _text(request: Request) -> str:
    """The body as text, or the field `text` of a JSON object."""
    try:
        body = await asyncio.wait_for(_body(request), BODY_SECONDS)
        text = body.decode()
        if request.headers.get("content-type", "").startswith("application/json"):
            text = json.loads(text)["text"]
    except TimeoutError as error:
        raise HTTPException(408, "the request took too long") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HTTPException(400, 'send text in UTF-8, or JSON: {"text": "…"}') from error
    if not isinstance(text, str):
        raise HTTPException(400, 'send text in UTF-8, or JSON: {"text": "…"}')
    return " ".join(text.split())


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"a request has at most {BODY_LIMIT} bytes")
    return body
