"""HTTP on one connection: answers invalid requests and limits the wait for valid ones."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .connections import Connections

FLUSH_SECONDS = 30.0  # for the client to receive the last answer before the connection is closed


class UpgradedProtocol(asyncio.Protocol):
    """The protocol that an HTTP connection was upgraded to, whose end is reported.

    Args:
        inner: receives everything.
        on_lost: called when the connection is closed.
    """

    def __init__(self, inner: asyncio.Protocol, on_lost: Callable[[], None]) -> None:
        self._inner = inner
        self._on_lost = on_lost
        self.data_received = inner.data_received
        self.eof_received = inner.eof_received
        self.pause_writing = inner.pause_writing
        self.resume_writing = inner.resume_writing

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the end of the connection on, and report it."""
        self._on_lost()
        self._inner.connection_lost(exc)


class HeaderTimeoutProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection without a complete request for `header_seconds` seconds.

    The state of each request gets two functions: `abort` closes the connection at once, `hold`
    marks it as one that stays open for long. A connection that is upgraded to a WebSocket counts as
    one with a request until it is closed.
    """

    def __init__(
        self, connections: Connections, header_seconds: float, *args: Any, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.app_state = {**self.app_state, "abort": self.abort, "hold": self._hold}
        self.held = False
        self._upgraded = False
        self._connections_open = connections
        self._header_seconds = header_seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request."""
        super().connection_made(transport)
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Process received data."""
        super().data_received(data)
        self._update_timer()

    def on_response_complete(self) -> None:
        """Start waiting for the next request."""
        self.held = False
        super().on_response_complete()
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection was closed."""
        self._forget()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Continue as a WebSocket, whose first message is the endpoint's to wait for."""
        super().handle_websocket_upgrade(event)
        self._upgraded = True
        inner: Any = self.transport.get_protocol()
        self.transport.set_protocol(UpgradedProtocol(inner, self._forget))

    def abort(self) -> None:
        """Close the connection at once, without sending what is left."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer an invalid request, if an answer is still possible, and close the connection."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if status == 431 and b"\n" not in self.conn.trailing_data[0]:
            status = 414
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_answer(status))
        self.conn.send_failed()
        self.transport.close()

    def _hold(self) -> None:
        self.held = True

    def _forget(self) -> None:
        self._cancel_timer()
        self._connections_open.forget(self)

    def _update_timer(self) -> None:
        """Run the timer while the connection has no request."""
        if self.transport.is_closing():
            self._timer = self._timer or self.loop.call_later(FLUSH_SECONDS, self.abort)
        elif self._upgraded or (self.cycle is not None and not self.cycle.response_complete):
            self._connections_open.busy(self)
            self._cancel_timer()
        else:
            self._connections_open.idle(self)
            if self._timer is None:
                self._timer = self.loop.call_later(self._header_seconds, self._time_out)

    def _time_out(self) -> None:
        self.transport.close()
        self._timer = self.loop.call_later(FLUSH_SECONDS, self.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _answer(status: int) -> bytes:
    text = f"{_REASONS.get(status, _REASONS[400])}\n".encode()
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain\r\n"
        f"Connection: close\r\nContent-Length: {len(text)}\r\n\r\n"
    ).encode() + text


_REASONS = {
    400: "this is not HTTP",
    414: "the address is too long",
    431: "the headers are too long",
    501: "this transfer encoding is not supported: send chunked, or a Content-Length",
}
