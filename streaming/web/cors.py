"""Cross-origin requests (CORS) of pages whose origins are allowed."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from .options import WebOptions

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_EXPOSED = (  # headers that scripts of another origin may read
    *("Accept-Ranges", "Content-Disposition", "Content-Length", "Content-Range", "ETag"),
    *("Location", "Openai-Poll-After-Ms", "Retry-After"),
)
_PREFLIGHT_SECONDS = 600


def cors_middleware(options: WebOptions) -> list[Middleware]:
    """The middleware that answers preflight requests, which carry no token; none without origins.

    It runs before tokens are checked. Cookies are not allowed: a page of another origin sends
    its key as a header, so any header may be sent.
    """
    if not options.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=options.cors_origins,
            allow_methods=_METHODS,
            allow_headers=("*",),
            expose_headers=_EXPOSED,
            max_age=_PREFLIGHT_SECONDS,
        )
    ]
