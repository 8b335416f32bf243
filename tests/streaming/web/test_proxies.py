"""Reverse proxies, pages of other origins, and keys of programs."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sana_stream.errors import ConfigError
from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.web.auth import AccessPolicy, Role
from sana_stream.streaming.web.options import WebOptions
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.root_path import relative_page
from sana_stream.streaming.web.server import WebServer

from ..blocks import blocks
from ..http_client import TIMEOUT_SECONDS, ask, stream_of

KEY = "key-of-a-program-1"
STATIC = Path(__file__).parents[3] / "streaming" / "web" / "static"


@contextmanager
def serving(
    streams: StreamRegistry, web: WebOptions, host: str = "127.0.0.1"
) -> Iterator[WebServer]:
    with WebServer(streams, AccessPolicy.on(host, 0, web), JobQueue()) as server:
        yield server


def fetch(
    server: WebServer, method: str, path: str, body: str | None = None, **headers: str
) -> http.client.HTTPResponse:
    """An answer whose body is read; names of headers are written with `_` for `-`."""
    port = server.access.port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.parametrize("prefix", ["", "/video", "/video/v2"])
def test_addresses_hold_below_the_path_of_a_proxy(current: StreamRegistry, prefix: str) -> None:
    """The proxy may remove the path or pass it on."""
    stream_of(current).feed.write(next(blocks()))
    order = json.dumps({"story": "a fox"})
    with serving(current, WebOptions(root_path=prefix)) as server:
        for before in {"", prefix}:
            assert ask(server, f"{before}/status")[0] == 200
            assert ask(server, f"{before}/streams/1/status")[0] == 200
            code, answer = ask(server, f"{before}/streams", order, Content_Type="application/json")
            assert code == 201
            links = json.loads(answer)["links"]
            assert all(link.startswith(f"{prefix}/streams/") for link in links.values())
            assert ask(server, links["page"])[0] == 200
            for link in re.findall(
                r"^\w+\.m4s", ask(server, f"{before}/live.m3u8")[1].decode(), re.M
            ):
                assert ask(server, f"{before}/{link}")[0] == 200
        kind = {"Content_Type": "application/json"}
        location = fetch(server, "POST", "/streams", order, **kind).headers["location"]
        assert location.startswith(f"{prefix}/streams/")
        if prefix:
            moved = fetch(server, "GET", f"{prefix}?token=x")
            assert (moved.status, moved.headers["location"]) == (308, f"{prefix}/?token=x")
            assert ask(server, f"{prefix}x/status")[0] == 404


def test_cookie_of_a_token_belongs_to_the_path_of_the_proxy(current: StreamRegistry) -> None:
    with serving(current, WebOptions(root_path="/video"), "0.0.0.0") as server:
        token = server.access.control_token
        answer = fetch(server, "GET", f"/streams/1/?token={token}")
        assert answer.headers["location"] == "/video/streams/1/"
        assert "Path=/video;" in answer.headers["set-cookie"]


def test_page_names_no_absolute_address() -> None:
    page = STATIC.joinpath("page.html").read_bytes()
    for path, upwards in (("/", b"./"), ("/streams/12/", b"../../")):
        shown = relative_page(page, path)
        assert b'="/' not in shown
        assert b'src="' + upwards + b'page.js"' in shown
    for file in STATIC.glob("*.js"):
        script = file.read_text("utf-8")
        absolute = re.findall(
            r"""(?:from |import |import\(|fetch\(|href = |src = |assign\(|Location\()["'`]/.*""",
            script,
        )
        assert not absolute, f"{file.name}: addresses begin with root of api.js: {absolute}"


def test_forwarded_headers_are_not_trusted(current: StreamRegistry) -> None:
    with serving(current, WebOptions()) as server:
        forged = {"X_Forwarded_Host": "localhost", "X_Forwarded_For": "127.0.0.1"}
        assert ask(server, "/status", Host="evil.example", **forged)[0] == 400
        forged = {"X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "https"}
        assert ask(server, "/command", "/pause", Origin="https://evil.example", **forged)[0] == 403
        assert ask(server, "/status", X_Forwarded_Prefix="/x", X_Original_URL="/y")[0] == 200


@pytest.mark.parametrize("name", ["host", "port", "scheme", "path", "null"])
def test_only_the_exact_origin_is_allowed(current: StreamRegistry, name: str) -> None:
    allowed = "https://app.example:8443"
    other = {
        "host": "https://app.example.evil.example:8443",
        "port": "https://app.example",
        "scheme": "http://app.example:8443",
        "path": "https://app.example:8443/",
        "null": "null",
    }[name]
    with serving(current, WebOptions(cors_origins=(allowed,))) as server:
        asked = {"Access_Control_Request_Method": "POST"}
        assert fetch(server, "OPTIONS", "/prompt", Origin=other, **asked).status == 400
        answer = fetch(server, "POST", "/prompt", "fox", Origin=other)
        assert answer.status == 403
        assert answer.headers["access-control-allow-origin"] is None
        answer = fetch(server, "POST", "/prompt", "fox", Origin=allowed)
        assert answer.status == 202
        assert answer.headers["access-control-allow-origin"] == allowed
        assert answer.headers["access-control-allow-credentials"] is None
        assert "Origin" in answer.headers["vary"]


def test_preflight_needs_no_key_and_the_request_does(current: StreamRegistry) -> None:
    origin = "https://app.example"
    with serving(current, WebOptions((KEY,), (origin,))) as server:
        asked = {
            "Access_Control_Request_Method": "DELETE",
            "Access_Control_Request_Headers": "authorization, x-stainless-os",
        }
        answer = fetch(server, "OPTIONS", "/streams/1", Origin=origin, **asked)
        assert answer.status == 200
        assert "DELETE" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        refused = fetch(server, "GET", "/status", Origin=origin)
        assert refused.status == 401
        assert refused.headers["access-control-allow-origin"] == origin  # scripts see the reason
        key = {"Authorization": f"Bearer {KEY}"}
        assert fetch(server, "GET", "/status", Origin=origin, **key).status == 200


def test_cookie_is_ignored_where_a_page_of_another_origin_asks(current: StreamRegistry) -> None:
    with serving(current, WebOptions(cors_origins=("*",)), "0.0.0.0") as server:
        cookie = f"{server.access.cookie}={server.access.control_token}"
        assert ask(server, "/prompt", "fox", Cookie=cookie)[0] == 202
        other = "https://any.example"
        assert ask(server, "/prompt", "fox", Cookie=cookie, Origin=other)[0] == 401
        token = f"?token={server.access.control_token}"
        answer = fetch(server, "POST", f"/prompt{token}", "fox", Origin=other)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (202, "*")


def test_api_key_directs_streams(current: StreamRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.auth.WRONG_SECONDS", 0.0)
    with serving(current, WebOptions((KEY, "second-key-here-2"))) as server:
        access = server.access
        assert access.control_token is not None  # also on a loopback address
        for key, code in (
            *((f"Bearer {KEY}", 202), ("bearer second-key-here-2", 202), ("Bearer", 401)),
            *((f"Bearer {KEY}x", 401), (f"Bearer {KEY[:-1]}", 401), (f"Basic {KEY}", 401)),
            *((f"Bearer {access.control_token}", 202), (f"Bearer {access.view_token}", 403)),
            *(("Bearer \xff", 401), ("", 401)),
        ):
            assert ask(server, "/prompt", "fox", Authorization=key)[0] == code, key
        assert ask(server, f"/status?token={KEY}")[0] == 401  # addresses end in logs
        cookie = f"{access.cookie}={access.control_token}"
        both = {"Cookie": cookie, "Authorization": "Bearer wrong-key-wrong-key"}
        assert ask(server, "/status", **both)[0] == 401
        assert fetch(server, "GET", "/status").headers["www-authenticate"] == "Bearer"
        assert KEY not in repr(access)
        assert access.url(Role.CONTROL).endswith(f"?token={access.control_token}")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"api_keys": ("short",)}, "an API key has 16 to 200"),
        ({"api_keys": ("a key with spaces in it",)}, "an API key has 16 to 200"),
        ({"cors_origins": ("example.com",)}, "'example.com' is not an origin"),
        ({"cors_origins": ("https://example.com/",)}, "is not an origin"),
        ({"cors_origins": ("https://Example.com",)}, "in lower case"),
        ({"cors_origins": ("null",)}, "is not an origin"),
        ({"root_path": "video"}, "'video' is not a root path"),
        ({"root_path": "/video/"}, "is not a root path"),
        ({"root_path": "/../x"}, "is not a root path"),
        ({"root_path": "/a?b"}, "is not a root path"),
    ],
)
def test_options_that_cannot_be_used(values: dict[str, tuple[str, ...]], reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)) as raised:
        WebOptions(**values)  # type: ignore[arg-type]
    assert "short" not in str(raised.value)
