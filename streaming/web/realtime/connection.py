"""One WebSocket: messages of limited size, sent to clients that read them in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from sana_stream.errors import SanaStreamError

from .messages import CONTROL_BYTES, ServerMessage

MESSAGE_BYTES = 2 * CONTROL_BYTES  # a longer message closes the connection with code 1009
PING_SECONDS = 20.0
STALL_SECONDS = 60.0  # for a client to receive one block, or to answer a ping
_FLUSH_SECONDS = 30.0  # for a client to receive what is left when the session is over
# what Starlette and uvicorn raise for a connection that is closed already
_CLOSED = (WebSocketDisconnect, OSError, RuntimeError)


class SessionEnded(SanaStreamError):  # noqa: N818 - an end, not a fault
    """The client is gone, or has read nothing for `STALL_SECONDS`."""


class RealtimeConnection:
    """Sends and receives the messages of one client.

    Messages may be sent from several tasks. A chunk of video follows its metadata with no message
    between them.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._socket = websocket
        self._sending = asyncio.Lock()

    async def receive(self) -> str | None:
        """The next text of the client; None for a binary message.

        Raises:
            SessionEnded: the client has disconnected.
        """
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise SessionEnded("the client has disconnected")
        return message.get("text")

    async def send(self, message: ServerMessage, video: bytes | None = None) -> None:
        """Send a message, and the chunk of video that it describes.

        Raises:
            SessionEnded: the client has disconnected, or reads too slowly and is disconnected.
        """
        try:
            async with self._sending, asyncio.timeout(STALL_SECONDS):
                await self._socket.send_text(message.to_json())
                if video is not None:
                    await self._socket.send_bytes(video)
        except TimeoutError as error:
            self._abort()
            raise SessionEnded(f"the client has read nothing for {STALL_SECONDS:g} s") from error
        except _CLOSED as error:
            raise SessionEnded("the client has disconnected") from error

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection, at the latest after 30 seconds without its last messages.

        Args:
            code: as RFC 6455 has it.
            reason: at most 123 bytes.
        """
        asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._abort)
        with suppress(TimeoutError, *_CLOSED):
            async with self._sending, asyncio.timeout(_FLUSH_SECONDS):
                await self._socket.close(code, reason)

    def hold(self) -> None:
        """Mark the connection as one that stays open for long."""
        self._call("hold")

    def _abort(self) -> None:
        self._call("abort")

    def _call(self, name: str) -> None:
        """Call a function that the server has put into the state of the request."""
        function = self._socket.scope.get("state", {}).get(name)
        if function is not None:
            function()
