"""Requests about the replicas of a fleet: show them, drain one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sana_stream._text import safe_text

from .auth import require_control
from .request_body import read_replica
from .responses import JsonResponse


@dataclass(frozen=True, slots=True)
class FleetMetrics:
    """What a gateway has counted since it was started."""

    replicas: int  # that run
    moves: int  # of streams to another replica
    blocks: int
    remade: int  # blocks that were made again after a move
    block_seconds: float  # that blocks were waited for
    longest_pause: float  # seconds, from a failed call until the block
    retries: Mapping[str, int]  # repeated calls by reason: lost, late, store


@dataclass(frozen=True, slots=True)
class FleetReplica:
    """A replica that runs."""

    place: str | None  # HOST:PID, once it has made a block
    streams: list[str]  # whose blocks it makes
    draining: bool  # its streams are moved away
    suspected: bool  # it was late or lost, and is avoided for a while


@dataclass(frozen=True, slots=True)
class FleetState:
    """The replicas by name, and what the gateway has counted since it was started."""

    store: str
    replicas: dict[str, FleetReplica]
    moves: int  # of streams to another replica
    blocks: int
    remade: int  # blocks that were made again after a move
    retries: dict[str, int]  # repeated calls by reason: lost, late, store
    longest_pause: float  # seconds, from a failed call until the block
    seconds_per_block: float  # that a block was waited for, on average


@dataclass(frozen=True, slots=True)
class DrainedReplica:
    """A replica whose streams move away."""

    replica: str
    stored: int  # streams


class FleetStatus(Protocol):
    """The replicas of a fleet, as the web server needs them."""

    def describe(self) -> FleetState:
        """The replicas with their streams, and the counters of the gateway."""
        ...

    def metrics(self) -> FleetMetrics:
        """The same figures as numbers."""
        ...

    def drain(self, replica: str) -> int | None:
        """Let a replica be replaced; the number of streams it stored, None if it is unknown."""
        ...


class FleetHandlers:
    """Answers requests about the replicas of a fleet; they need the role CONTROL."""

    def __init__(self, fleet: FleetStatus) -> None:
        self._fleet = fleet

    async def show(self, request: Request) -> Response:
        """GET: the replicas and the counters."""
        require_control(request)
        return JsonResponse(asdict(self._fleet.describe()))

    async def drain(self, request: Request) -> Response:
        """POST: move the streams of a replica away, and let Ray Serve replace it.

        The name is sent as text, or as JSON `{"replica": "…"}`.
        """
        require_control(request)
        name = await read_replica(request)
        stored = await run_in_threadpool(self._fleet.drain, name)
        if stored is None:
            raise HTTPException(404, f"no replica is named {safe_text(name, 60)!r}: see /fleet")
        return JsonResponse(asdict(DrainedReplica(name, stored)), 202)


def fleet_routes(fleet: FleetStatus) -> list[Route]:
    """The routes below `/fleet`."""
    handlers = FleetHandlers(fleet)
    return [
        Route("/fleet", handlers.show, methods=["GET"]),
        Route("/fleet/drain", handlers.drain, methods=["POST"]),
    ]
