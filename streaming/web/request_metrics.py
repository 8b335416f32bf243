"""Metrics over HTTP: counting requests, and `/metrics` for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from .metrics import ServerMetrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")


class RequestMetricsMiddleware:
    """Counts requests and the bytes of their responses by route, not by address.

    A WebSocket counts as the method `WEBSOCKET`, with the status 101 once it is accepted.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, routes: list[BaseRoute]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        route, method = self._route(scope), _method(scope)
        sent, begun = self._metrics.sent.labels(route), False

        def count(status: int) -> None:
            nonlocal begun
            if not begun:
                begun = True
                self._metrics.requests.labels(method, route, str(status)).inc()

        async def send_counted(message: Message) -> None:
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    count(message["status"])
                case "websocket.accept":
                    count(101)
                case "websocket.close":
                    count(403)  # as servers answer one that was not accepted
            await send(message)
            body = message.get("body") or message.get("bytes") or message.get("text") or b""
            sent.inc(len(body))

        try:
            await self._app(scope, receive, send_counted)
        except Exception:
            count(500)
            raise

    def _route(self, scope: Scope) -> str:
        """The path of the route that answers, with names in place of values."""
        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                return getattr(route, "path", "other") or "other"
        return "other"


def metrics_route(metrics: ServerMetrics) -> Route:
    """`/metrics`, in the text format of Prometheus or, where it is accepted, as OpenMetrics."""

    async def show_metrics(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        text = await run_in_threadpool(encode, metrics.registry)
        return Response(text, headers={"content-type": kind})

    return Route("/metrics", show_metrics, methods=["GET"])


def _method(scope: Scope) -> str:
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    return scope["method"] if scope["method"] in _METHODS else "other"
