"""Serving below a path of a reverse proxy, such as `/video`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_ADDRESS = re.compile(rb'\b(href|src)="/')  # of the page's attributes


class RootPathMiddleware:
    """Removes the root path from the paths of requests.

    A proxy may remove it itself, or pass it on: both are served. The state of each request gets
    `root`, which is put before every path that an answer names.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] in ("http", "websocket"):
            root, path = self._root, scope["path"]
            scope.setdefault("state", {})["root"] = root
            if root and path == root and scope["type"] == "http":
                query = scope["query_string"].decode("ascii", "replace")
                address = f"{root}/?{query}" if query else f"{root}/"
                await RedirectResponse(address, 308)(scope, receive, send)
                return
            if root and path.startswith(f"{root}/"):
                scope = {**scope, "path": path.removeprefix(root)}
                if raw := scope.get("raw_path"):
                    scope["raw_path"] = raw.removeprefix(root.encode())
        await self._app(scope, receive, send)


def root_of(request: Request) -> str:
    """What is put before the paths in the answer to a request: the root path, or nothing."""
    return request.state.root


def relative_page(page: bytes, path: str) -> bytes:
    """A page with addresses that are relative to the path at which it is served.

    Addresses in attributes that begin with `/` then work below whatever path a proxy adds.
    """
    upwards = b"../" * (path.count("/") - 1) or b"./"
    return _ADDRESS.sub(rb'\1="' + upwards, page)
