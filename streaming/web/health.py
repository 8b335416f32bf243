"""Health checks: `/health` while the server answers, `/ready` while a stream could be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .registry import StreamRegistry
from .responses import JsonResponse

OPEN_PATHS = frozenset({"/health", "/ready"})  # for any client, without a token
RETRY_SECONDS = 5
Readiness = Callable[[], str | None]  # why no stream could be made now; None if one could


@dataclass(frozen=True, slots=True)
class Health:
    """The server answers."""

    status: Literal["ok"] = "ok"


@dataclass(frozen=True, slots=True)
class Ready:
    """A stream could be made now."""

    status: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No stream could be made now."""

    reason: str
    status: Literal["unavailable"] = "unavailable"


def readiness_of(streams: StreamRegistry) -> Readiness:
    """The readiness of a page that shows one run: whether it can be watched."""

    def reason() -> str | None:
        newest = streams.newest
        if newest is None or newest.status.snapshot().state == "starting":
            return "the first block is being generated"
        return "the stream has ended" if newest.status.finished else None

    return reason


def health_routes(ready: Readiness) -> list[Route]:
    """The routes of health checks; they answer in JSON."""

    async def show_health(request: Request) -> Response:
        return JsonResponse(asdict(Health()))

    async def show_ready(request: Request) -> Response:
        reason = await run_in_threadpool(ready)
        if reason is None:
            return JsonResponse(asdict(Ready()))
        return JsonResponse(asdict(Unavailable(reason)), 503, {"Retry-After": str(RETRY_SECONDS)})

    return [
        Route("/health", show_health, methods=["GET"]),
        Route("/ready", show_ready, methods=["GET"]),
    ]
