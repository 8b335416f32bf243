"""The addresses at which other devices reach the page, as text and as QR codes."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from urllib.parse import quote

import psutil
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from .auth import AccessPolicy, Role, is_loopback
from .responses import JsonResponse
from .root_path import root_of

_MOST = 4  # addresses of this machine that are listed
_ANY = ("0.0.0.0", "::", "")
_LOCAL = (
    "Only this machine reaches this page. Start the server with --host 0.0.0.0 to open it to the"
    " network: this dialog then shows an address to watch and one to direct, each with its token."
)
_NO_NETWORK = "This machine has no address in a network: connect it, and load this page again."


@dataclass(frozen=True, slots=True)
class QrCode:
    """A QR code as the path of an SVG: its dark modules."""

    size: int  # units across and down
    path: str


@dataclass(frozen=True, slots=True)
class ShareLink:
    """An address of the page, with a token."""

    role: str
    url: str
    qr: QrCode


@dataclass(frozen=True, slots=True)
class ShareLinks:
    """The addresses that a client may hand on."""

    links: list[ShareLink]
    note: str  # why there are none, and what to do; empty where there are some


def share_handler(access: AccessPolicy) -> Callable[[Request], Awaitable[Response]]:
    """What answers requests for the addresses of the page."""

    async def share(request: Request) -> Response:
        """GET: the links that this client may hand on; a note where only this machine has access.

        A client that may only watch gets no link that directs.
        """
        tokens = _tokens(access, request.state.role)
        path = root_of(request) + request.scope["path"].removesuffix("share")

        def links() -> list[ShareLink]:
            return [
                ShareLink(role, url, qr_path(url))
                for origin in _origins(access, request)
                for role, token in tokens
                for url in [f"{origin}{path}" + (f"?token={quote(token)}" if token else "")]
            ]

        found = await run_in_threadpool(links)
        note = "" if found else _LOCAL if is_loopback(access.host) else _NO_NETWORK
        return JsonResponse(asdict(ShareLinks(found, note)))

    return share


def qr_path(text: str) -> QrCode:
    """A QR code (ISO/IEC 18004) with its quiet zone."""
    import segno

    rows = [list(row) for row in segno.make_qr(text, error="m").matrix_iter(border=4)]
    runs = [
        f"M{begin} {y}h{end - begin}v1H{begin}z"
        for y, row in enumerate(rows)
        for begin, end in _runs(row)
    ]
    return QrCode(len(rows), "".join(runs))


def lan_addresses() -> list[str]:
    """The addresses of this machine in its networks, the one of the default route first."""
    found = [
        address.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]
    if (default := _default_address()) is not None:
        found.insert(0, default)
    return [each for each in dict.fromkeys(found) if _is_reachable(each)][:_MOST]


def _tokens(access: AccessPolicy, role: Role) -> list[tuple[str, str | None]]:
    """The roles that a client may hand on, each with its token."""
    direct = [("direct", access.control_token)] if role is Role.CONTROL else []
    view = [("view", access.view_token)] if access.view_token is not None else []
    return [*view, *direct]


def _origins(access: AccessPolicy, request: Request) -> list[str]:
    """Where other devices reach this server, such as http://192.168.1.5:8765."""
    if access.host in _ANY or is_loopback(access.host):
        named = request.url.hostname or ""
        if named and not is_loopback(named) and named not in _ANY:  # also the name of a proxy
            return [f"{request.url.scheme}://{request.url.netloc}"]
        hosts = [] if is_loopback(access.host) else lan_addresses()
    else:
        hosts = [access.host]
    names = (f"[{host}]" if ":" in host else host for host in hosts)
    return [f"{request.url.scheme}://{name}:{access.port}" for name in names]


def _default_address() -> str | None:
    """The address from which this machine reaches others; nothing is sent to find it."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737)
        return str(probe.getsockname()[0])
    return None


def _is_reachable(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)


def _runs(row: list[int]) -> list[tuple[int, int]]:
    """Begin and end of each run of dark modules in a row."""
    edges = [x for x in range(len(row) + 1) if _dark(row, x) != _dark(row, x - 1)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _dark(row: list[int], x: int) -> bool:
    return 0 <= x < len(row) and bool(row[x])
