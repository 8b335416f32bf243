"""Who may see the page, and who may direct."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse

from sana_stream.errors import InvalidOutputError

from .request_body import refused_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SEND_SECONDS = 30.0  # a viewer that takes nothing for so long is let go
WRONG_SECONDS = 0.5  # before a wrong token is refused: guessing takes time
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Role(Enum):
    """What somebody may do."""

    NONE = auto()
    VIEW = auto()
    CONTROL = auto()


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The address of the page and the tokens that open it.

    On a loopback address no token is needed: whoever is on the machine may direct. Elsewhere the
    `direct` token allows everything and the `watch` token only looking on.
    """

    host: str
    port: int
    control_token: str | None = None
    view_token: str | None = None

    @classmethod
    def on(cls, host: str, port: int) -> AccessPolicy:
        """Access at an address, with new tokens where it is not loopback; InvalidOutputError."""
        if not 0 <= port < 65536:
            raise InvalidOutputError(f"port {port}: must be between 0 and 65535")
        if is_loopback(host):
            return cls(host, port)
        return cls(host, port, secrets.token_urlsafe(18), secrets.token_urlsafe(18))

    def url(self, role: Role = Role.CONTROL) -> str:
        """What to open in a browser."""
        token = self.control_token if role is Role.CONTROL else self.view_token
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}/" + (f"?token={token}" if token else "")

    @property
    def cookie(self) -> str:
        """The name of the cookie that keeps the token; browsers share cookies between ports."""
        return f"sana_stream_{self.port}"

    def role(self, token: str | None) -> Role:
        """What the holder of a token may do."""
        if self.control_token is None:
            return Role.CONTROL
        for known, role in ((self.control_token, Role.CONTROL), (self.view_token, Role.VIEW)):
            if token and known and hmac.compare_digest(token.encode(), known.encode()):
                return role
        return Role.NONE

    def knows_host(self, host: str) -> bool:
        """Whether a request was meant for us.

        Another name that leads to a loopback address is how a foreign page would reach it. Where
        a token is needed any name will do: a browser gives our token to no other one.
        """
        host = host.lower()
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdecimal() else host
        return (
            self.control_token is not None
            or name in (self.host.lower(), "localhost")
            or is_loopback(name)
        )


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def require_control(request: Request) -> None:
    """Refuse a request of somebody who may only look on."""
    if request.state.role is not Role.CONTROL:
        raise HTTPException(403, "this token is for watching")


class AccessMiddleware:
    """Stands before the application: names, origins, tokens, and viewers that take nothing.

    What the holder of the request's token may do is put into the request's state as `role`, and as
    `query` what further addresses need behind them, for players that keep no cookie.
    """

    def __init__(self, app: ASGIApp, access: AccessPolicy) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = _with_headers(_timed(send, scope.get("state", {}).get("abort")))
        if not self._access.knows_host(headers.get("host", "")):
            await _refuse(400, "this address is not served here")(scope, receive, send)
            return
        if (refusal := refused_body(scope["method"], headers)) is not None:
            await _refuse(*refusal)(scope, receive, send)
            return
        if _is_foreign(headers):
            await _refuse(403, "requests from other sites are refused")(scope, receive, send)
            return
        given = self._given(scope)
        kept = cookie_parser(headers.get("cookie", "")).get(self._access.cookie)
        role = self._access.role(given or kept)
        if role is Role.NONE:
            if given or kept:
                await asyncio.sleep(WRONG_SECONDS)
            await _refuse(401, "open the address with its token")(scope, receive, send)
            return
        if given and scope["path"] == "/":
            await self._keep_token(given)(scope, receive, send)
            return
        query = f"?token={given}" if given else ""
        scope.setdefault("state", {}).update(role=role, query=query)
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; an answer that breaks off takes its connection with it."""
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception:
            if begun and (abort := scope["state"].get("abort")) is not None:
                abort()
            raise

    def _given(self, scope: Scope) -> str | None:
        """The token in the address; where none is needed, whatever stands there means nothing."""
        if self._access.control_token is None:
            return None
        return QueryParams(scope["query_string"]).get("token")

    def _keep_token(self, token: str) -> RedirectResponse:
        """Move the token from the address, where it is seen, into a cookie."""
        response = RedirectResponse("/", 303)
        response.set_cookie(self._access.cookie, token, httponly=True, samesite="strict")
        return response


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of another site asks; to follow a link from there is no harm."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return elsewhere and headers.get("sec-fetch-mode") != "navigate"


def _refuse(status: int, why: str) -> PlainTextResponse:
    return PlainTextResponse(why + "\n", status)


def _timed(send: Send, abort: Callable[[], None] | None) -> Send:
    """A viewer that takes nothing loses its connection, with what waits to be sent on it."""

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
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return extended
