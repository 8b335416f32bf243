"""Access to the page: addresses, tokens and roles."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from sana_stream.errors import InvalidOutputError

from .errors import refusal
from .health import OPEN_PATHS
from .options import NO_OPTIONS, WebOptions
from .request_body import refused_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SEND_SECONDS = 30.0  # without progress, after which a viewer is disconnected
WRONG_SECONDS = 0.5  # before a wrong token is refused, to slow guessing
_PAGE = re.compile(r"/(docs|streams/[0-9]{1,18}/)?")  # paths that move a token into a cookie
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Role(Enum):
    """What a client may do."""

    NONE = auto()
    VIEW = auto()
    CONTROL = auto()


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The address of the page and the tokens and keys that give access to it.

    On a loopback address no token is needed, unless there are API keys: every user of the machine
    has the role CONTROL. On other addresses `control_token` and the API keys give the role CONTROL,
    and `view_token` the role VIEW.
    """

    host: str
    port: int
    control_token: str | None = None
    view_token: str | None = None
    web: WebOptions = field(default=NO_OPTIONS, repr=False)

    @classmethod
    def on(cls, host: str, port: int, web: WebOptions = NO_OPTIONS) -> AccessPolicy:
        """The policy for an address, with new tokens unless it is loopback without API keys.

        Raises:
            InvalidOutputError: the port is not between 0 and 65535.
        """
        if not 0 <= port < 65536:
            raise InvalidOutputError(f"port {port}: give 0 to 65535")
        if is_loopback(host) and not web.api_keys:
            return cls(host, port, web=web)
        return cls(host, port, secrets.token_urlsafe(18), secrets.token_urlsafe(18), web)

    def url(self, role: Role = Role.CONTROL) -> str:
        """The URL to open in a browser."""
        token = self.control_token if role is Role.CONTROL else self.view_token
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}/" + (f"?token={token}" if token else "")

    @property
    def cookie(self) -> str:
        """The name of the cookie for the token, with the port: ports of a host share cookies."""
        return f"sana_stream_{self.port}"

    def role(self, token: str | None) -> Role:
        """The role that a token gives."""
        if self.control_token is None:
            return Role.CONTROL
        for known, role in ((self.control_token, Role.CONTROL), (self.view_token, Role.VIEW)):
            if token and known and hmac.compare_digest(token.encode(), known.encode()):
                return role
        return Role.NONE

    def bearer_role(self, key: str) -> Role:
        """The role that an `Authorization: Bearer` header gives: that of an API key or a token."""
        same = [hmac.compare_digest(key.encode(), known.encode()) for known in self.web.api_keys]
        return Role.CONTROL if any(same) else self.role(key)

    def knows_host(self, host: str) -> bool:
        """Whether the `Host` of a request is an address of this server.

        A foreign page can reach a loopback address through a host name of its own (DNS rebinding).
        Where a token is needed every name is accepted: a browser sends the token only to the name
        that it came from.
        """
        host = host.lower()
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdecimal() else host
        return (
            self.control_token is not None
            or name in (self.host.lower(), "localhost")
            or is_loopback(name)
        )


def is_loopback(host: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def require_control(request: Request) -> None:
    """Refuse a request of a client that may only watch."""
    if request.state.role is not Role.CONTROL:
        raise HTTPException(403, "this token allows watching only")


class AccessMiddleware:
    """Checks host names, origins and tokens of requests, and disconnects stalled viewers.

    WebSockets are checked in the same way: browsers let pages of other sites open them. The token
    comes in the address, in an `Authorization: Bearer` header, or in the page's cookie.

    The state of a request gets the `role` of its token, and as `query` what has to be appended to
    further addresses, for players that keep no cookies.
    """

    def __init__(self, app: ASGIApp, access: AccessPolicy) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or the WebSocket, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path, is_http = scope["path"], scope["type"] == "http"
        if is_http:  # the endpoint of a WebSocket has a limit of its own
            send = _with_headers(_timed(send, scope.get("state", {}).get("abort")))
        else:
            send = _without_length(send)
        if not self._access.knows_host(headers.get("host", "")):
            await refusal(path, 400, "this address is not served here")(scope, receive, send)
            return
        if is_http and (refused := refused_body(scope["method"], path, headers)) is not None:
            await refusal(path, *refused)(scope, receive, send)
            return
        foreign = _is_foreign(headers)
        if foreign and not self._access.web.allows_origin(headers.get("origin", "")):
            await refusal(path, 403, "requests from other sites are refused")(scope, receive, send)
            return
        if path in OPEN_PATHS:
            scope.setdefault("state", {}).update(role=Role.NONE, query="")
            await self._answer(scope, receive, send)
            return
        given, bearer = self._given(scope), _bearer(headers)
        # a page of another origin, which is allowed, must send a token or key of its own
        kept = None if foreign else HTTPConnection(scope).cookies
        token = given or (kept or {}).get(self._access.cookie)
        role = self._access.role(token) if bearer is None else self._access.bearer_role(bearer)
        if role is Role.NONE:
            if token or bearer:
                await asyncio.sleep(WRONG_SECONDS)
            await _unauthorized(path)(scope, receive, send)
            return
        if given and is_http and _PAGE.fullmatch(path):
            await self._keep_token(given, scope)(scope, receive, send)
            return
        query = f"?token={given}" if given else ""
        scope.setdefault("state", {}).update(role=role, query=query)
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; close the connection of a response that fails in the middle."""
        begun = False

        async def send_noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        except Exception:
            if begun and (abort := scope["state"].get("abort")) is not None:
                abort()
            raise

    def _given(self, scope: Scope) -> str | None:
        """The token in the address, which is ignored if none is needed."""
        if self._access.control_token is None:
            return None
        return QueryParams(scope["query_string"]).get("token")

    def _keep_token(self, token: str, scope: Scope) -> RedirectResponse:
        """Move the token from the address, where it is visible, into a cookie."""
        root = scope["state"]["root"]
        response = RedirectResponse(root + scope["path"], 303)
        response.set_cookie(
            self._access.cookie, token, path=root or "/", httponly=True, samesite="strict"
        )
        return response


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of another site sends the request; following a link from it is allowed."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return elsewhere and headers.get("sec-fetch-mode") != "navigate"


def _bearer(headers: Headers) -> str | None:
    """The key in `Authorization: Bearer KEY`; None for a request without that header."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _without_length(send: Send) -> Send:
    """Send the refusal of a WebSocket without its length, which versions of uvicorn add again."""

    async def sent(message: Message) -> None:
        if message["type"] == "websocket.http.response.start":
            others = [each for each in message["headers"] if each[0].lower() != b"content-length"]
            message = {**message, "headers": others}
        await send(message)

    return sent


def _unauthorized(path: str) -> Response:
    reason = (
        "the token or API key is missing or wrong: open the address with its token, or send "
        "Authorization: Bearer KEY"
    )
    return refusal(path, 401, reason, {"WWW-Authenticate": "Bearer"})


def _timed(send: Send, abort: Callable[[], None] | None) -> Send:
    """Close the connection of a viewer that receives nothing, with what waits to be sent."""

    async def timed(message: Message) -> None:
        try:
            await asyncio.wait_for(send(message), SEND_SECONDS)
        except TimeoutError:
            if abort is not None:
                abort()
            raise

    return timed


def _with_headers(send: Send) -> Send:
    extra = [(name.lower().encode(), text.encode()) for name, text in _HEADERS.items()]

    async def extended(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message["headers"])
            names = {name for name, _ in given}
            added = [(name, text) for name, text in extra if name not in names]
            message = {**message, "headers": [*given, *added]}
        await send(message)

    return extended
