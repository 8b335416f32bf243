"""The web server beside the run, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from threading import Thread

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .access import Access
from .errors import TargetError
from .programme import Programme
from .stage import Stage
from .web import make_app

_CONNECTIONS = 256  # at once; more are told to come back
HEADER_SECONDS = 10.0  # for a connection to say what it wants


class _Impatient(H11Protocol):
    """HTTP that lets go of a connection on which no whole request comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and self.cycle.response_complete:  # part of the next one
            self._expect_request()

    def _expect_request(self) -> None:
        self.loop.call_later(HEADER_SECONDS, self._give_up, self.cycle)

    def _give_up(self, before: object) -> None:
        if self.cycle is before:
            self.transport.close()


class WebServer:
    """Serves a stage until it is closed.

    The port is taken at once; port 0 is any free one. `access` then has the port that was got.
    With a programme it takes orders for streams. Raises TargetError when the address cannot be
    used.
    """

    def __init__(self, stage: Stage, access: Access, programme: Programme | None = None) -> None:
        try:
            family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
            self._socket = socket.create_server((access.host, access.port), family=family)
        except OSError as error:
            raise TargetError(
                f"port {access.port} on {access.host}: {(error.strerror or str(error)).lower()}; "
                "choose another port"
            ) from error
        self.access = replace(access, port=self._socket.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(stage, self.access, programme),
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                http=_Impatient,
                ws="none",
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = Thread(target=self._run, name="web server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; viewers are let go after a second."""
        self._server.should_exit = True
        self._thread.join(5)

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        self._server.run([self._socket])
