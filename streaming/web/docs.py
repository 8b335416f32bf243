"""The description of the API: `/openapi.json`, and the page `/docs` that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .openapi import openapi_document
from .responses import JsonResponse
from .root_path import relative_page, root_of


def docs_routes(routes: Sequence[BaseRoute]) -> list[Route]:
    """The routes of the description of the server's other routes."""
    described = tuple(routes)
    page = resources.files(__package__ or "").joinpath("static", "docs.html").read_bytes()

    async def describe(request: Request) -> Response:
        return JsonResponse(openapi_document(described, root_of(request)))

    async def show(request: Request) -> Response:
        return Response(relative_page(page, request.scope["path"]), media_type="text/html")

    return [
        Route("/openapi.json", describe, methods=["GET"]),
        Route("/docs", show, methods=["GET"]),
    ]
