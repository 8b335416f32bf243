"""The web server of a run, in a thread of its own."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from dataclasses import replace
from threading import Thread

import uvicorn

from sana_stream._text import os_reason
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.web.realtime.connection import (
    MESSAGE_BYTES,
    PING_SECONDS,
    STALL_SECONDS,
)

from .app import Limits, create_app
from .auth import AccessPolicy
from .connections import Connections, connection_limit, notice_dead_peers, refuse
from .films import Films
from .fleet import FleetStatus
from .health import Readiness
from .http_protocol import HeaderTimeoutProtocol
from .metrics import ServerMetrics
from .registry import StreamRegistry
from .served_model import ANY_MODEL, ServedModel

HEADER_SECONDS = 10.0  # for a connection to send a complete request
_WAITING = 1024  # connections that the system queues
_AT_ONCE = 16  # connections accepted before other tasks run
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.01  # seconds; leaves the processor to the run, however many connections come


class WebServer:
    """Serves the pages of streams until it is closed.

    The port is opened at once; port 0 is any free port, and the attribute `access` has the one that
    was opened. With `jobs` the server also takes jobs, with `fleet` it also shows replicas.
    The other arguments are those of `create_app`.

    Raises:
        InvalidOutputError: the address cannot be used.
    """

    def __init__(
        self,
        streams: StreamRegistry,
        access: AccessPolicy,
        jobs: JobQueue | None = None,
        fleet: FleetStatus | None = None,
        ready: Readiness | None = None,
        metrics: ServerMetrics | None = None,
        model: ServedModel = ANY_MODEL,
        films: Films | None = None,
    ) -> None:
        try:
            family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
            self._socket = socket.create_server(
                (access.host, access.port), family=family, backlog=_WAITING
            )
        except OSError as error:
            raise InvalidOutputError(
                f"port {access.port} on {access.host}: {os_reason(error)}; choose another port"
            ) from error
        self.access = replace(access, port=self._socket.getsockname()[1])
        self._socket.setblocking(False)
        self._connections = Connections(connection_limit())
        limits = Limits(max(2, self._connections.limit // 2), max(1, self._connections.limit // 8))
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(streams, self.access, jobs, limits, fleet, ready, metrics, model, films),
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                http=HeaderTimeoutProtocol,
                ws="websockets-sansio",
                ws_max_size=MESSAGE_BYTES,
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=STALL_SECONDS,
                ws_per_message_deflate=False,  # video cannot be compressed further
                server_header=False,
                proxy_headers=False,  # nothing depends on X-Forwarded-For and X-Forwarded-Proto
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._thread = Thread(target=self._run, name="web server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; viewers are disconnected after a second."""
        self._server.should_exit = True
        if self._loop is not None and self._accepting is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join(5)

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        with self._socket:
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(
            lambda *_: None
        )  # errors of connections, which are closed then
        self._accepting = self._loop.create_task(self._accept())
        await self._server.serve([])
        self._accepting.cancel()

    async def _accept(self) -> None:
        """Accept connections at a limited rate."""
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(_AT_ONCE):
                try:
                    connection, _ = await loop.sock_accept(self._socket)
                    await self._admit(connection)
                except OSError as error:  # it was closed again, or no descriptor is left
                    if error.errno in _EXHAUSTED:
                        self._connections.evict()
                    break
            await asyncio.sleep(_PAUSE)

    async def _admit(self, connection: socket.socket) -> None:
        if not self._connections.make_room():
            refuse(connection)
            return
        notice_dead_peers(connection)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._make_protocol, connection)

    def _make_protocol(self) -> HeaderTimeoutProtocol:
        server = self._server
        return HeaderTimeoutProtocol(
            self._connections, HEADER_SECONDS, server.config, server.server_state, {}
        )
