"""The address `/v1/realtime/video`."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.web.auth import Role
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.served_model import ServedModel

from .connection import RealtimeConnection
from .session import RealtimeSession


def realtime_routes(jobs: JobQueue, streams: StreamRegistry, model: ServedModel) -> list[BaseRoute]:
    """The route of sessions over a WebSocket.

    Args:
        jobs: the queue that sessions submit to.
        streams: those that have begun.
        model: makes them.
    """

    async def serve(websocket: WebSocket) -> None:
        if websocket.state.role is not Role.CONTROL:
            refusal = PlainTextResponse("this token allows watching only\n", 403)
            await websocket.send_denial_response(refusal)
            return
        await websocket.accept()
        await RealtimeSession(RealtimeConnection(websocket), jobs, streams, model).run()

    return [WebSocketRoute("/v1/realtime/video", serve)]
