"""Who may ask the server for what, and for how long it waits for those who say nothing."""

from __future__ import annotations

import http.client
import re
import socket
from http.client import HTTPMessage

import pytest

from sana_stream.streaming.control.pending_changes import PendingChanges
from sana_stream.streaming.web.auth import AccessPolicy, Role
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..blocks import blocks
from ..http_client import TIMEOUT_SECONDS, ask, stream_of


def test_foreign_pages_and_foreign_names_are_refused(
    current: StreamRegistry, server: WebServer
) -> None:
    port = server.access.port
    assert ask(server, "/command", "/stop", Origin="http://evil.example")[0] == 403
    assert ask(server, "/command", "/stop", Origin="null")[0] == 403
    assert ask(server, "/command", "/stop", Host="evil.example")[0] == 400
    assert ask(server, "/command", "/stop", Host=f"127.0.0.1.evil.example:{port}")[0] == 400
    assert ask(server, "/command", "/stop", Host="")[0] == 400
    assert not stream_of(current).control.stop.is_set()
    assert ask(server, "/prompt", "x", Origin=f"http://127.0.0.1:{port}")[0] == 202
    assert ask(server, "/status", Host=f"localhost:{port}")[0] == 200
    assert ask(server, "/status", Host="[::1]")[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_cannot_show_what_is_made_here(server: WebServer, site: str) -> None:
    """As an image or a video it would ask without an Origin; to open a link is another matter."""
    assert ask(server, "/status", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors")[0] == 403
    assert ask(server, "/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] == 200
    for here in ("same-origin", "none"):
        assert ask(server, "/status", Sec_Fetch_Site=here, Sec_Fetch_Mode="no-cors")[0] == 200


def test_elsewhere_a_token_is_needed_and_says_what_one_may(
    current: StreamRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.auth.WRONG_SECONDS", 0.0)
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        access = server.access
        assert access.control_token != access.view_token
        assert ask(server, "/status")[0] == 401
        assert ask(server, "/status?token=wrong")[0] == 401
        assert ask(server, "/status?token=%ff%ed%a0%80")[0] == 401
        assert ask(server, "/live.m3u8?token=")[0] == 401
        assert ask(server, "/status", Cookie=f"{access.cookie}=wrong")[0] == 401
        assert ask(server, f"/status?token={access.view_token}")[0] == 200
        assert ask(server, f"/command?token={access.view_token}", "/stop")[0] == 403
        assert ask(server, f"/prompt?token={access.view_token}", "fox")[0] == 403
        assert not stream_of(current).control.stop.is_set()
        assert (
            ask(server, "/prompt", "fox", Cookie=f"{access.cookie}={access.control_token}")[0]
            == 202
        )
        assert access.url(Role.VIEW).endswith(f"/?token={access.view_token}")


def answer_of(server: WebServer, path: str) -> tuple[int, HTTPMessage]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.access.port, timeout=TIMEOUT_SECONDS
    )
    connection.request("GET", path)
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.headers


def test_a_token_moves_from_the_address_into_a_cookie(current: StreamRegistry) -> None:
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        for page in ("/", "/docs", "/streams/1/"):
            code, headers = answer_of(server, f"{page}?token={server.access.control_token}")
            assert (code, headers["location"]) == (303, page)
            assert headers["set-cookie"].startswith(
                f"{server.access.cookie}={server.access.control_token};"
            )
            assert "HttpOnly" in headers["set-cookie"]
            assert "SameSite=strict" in headers["set-cookie"]


def test_files_of_the_page_are_found_whatever_the_name_of_the_server(
    current: StreamRegistry,
) -> None:
    """A proxy may pass a name on that is no valid part of a URL."""
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        for path in ("/page.js", "/streams/1/"):
            for name in ("studio.example", "a/b", "[", "a?b"):
                authorization = f"Bearer {server.access.view_token}"
                assert ask(server, path, Host=name, Authorization=authorization)[0] == 200, name


def test_where_no_token_is_needed_one_in_the_address_means_nothing(
    current: StreamRegistry, server: WebServer
) -> None:
    stream_of(current).feed.write(next(blocks()))
    code, headers = answer_of(server, "/?token=x")
    assert code == 200
    assert headers["set-cookie"] is None
    text = ask(server, "/live.m3u8?token=x%0Ahttp://evil.example/")[1]
    assert b"evil" not in text
    assert b"token" not in text


def test_players_without_cookies_get_the_token_into_the_playlist(current: StreamRegistry) -> None:
    stream_of(current).feed.write(next(blocks()))
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        text = ask(server, f"/live.m3u8?token={server.access.view_token}")[1].decode()
        (name,) = re.findall(r"^segment.*$", text, re.MULTILINE)
        assert ask(server, f"/{name}")[0] == 200
        assert ask(server, f"/{name.partition('?')[0]}")[0] == 401


def test_every_answer_forbids_what_the_page_does_not_need(server: WebServer) -> None:
    for path in ("/", "/status", "/nowhere"):
        headers = answer_of(server, path)[1]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["server"] is None


def test_a_body_that_never_comes_is_not_waited_for(
    current: StreamRegistry, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.request_body.BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.access.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(
            b"POST /prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    assert stream_of(current).control.drain() == PendingChanges()


def test_a_request_that_never_comes_is_not_waited_for(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.server.HEADER_SECONDS", 1.0)
    with socket.create_connection(("127.0.0.1", server.access.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /status HTTP/1.1\r\nHost: local")
        assert connection.recv(1000) == b""
    assert ask(server, "/status")[0] == 200


def test_nor_is_a_second_one_that_never_comes(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.server.HEADER_SECONDS", 1.0)
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.access.port, timeout=TIMEOUT_SECONDS
    )
    connection.request("GET", "/status")
    assert connection.getresponse().read()
    assert connection.sock
    connection.sock.sendall(b"GET /status HTTP/1.1\r\nHost: local")
    assert connection.sock.recv(1000) == b""
    connection.close()
