"""Addresses to hand on: to whom, with which token, as text and as QR codes."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
import segno

from sana_stream.streaming.web import share
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.options import WebOptions
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.share import lan_addresses, qr_path

from ..http_client import ask


def links(server: WebServer, path: str = "/share", **headers: str) -> list[dict[str, Any]]:
    code, content = ask(server, path, **headers)
    assert code == 200
    return json.loads(content)["links"]


def test_a_page_of_this_machine_has_no_link_and_says_why(server: WebServer) -> None:
    found = json.loads(ask(server, "/share")[1])
    assert found["links"] == []
    assert "--host 0.0.0.0" in found["note"]


def test_a_machine_without_network_says_so(
    current: StreamRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    monkeypatch.setattr(share, "lan_addresses", lambda: addresses)
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        path = f"/share?token={server.access.view_token}"
        found = json.loads(ask(server, path)[1])
        assert (found["links"], "network" in found["note"]) == ([], True)
        addresses.append("192.168.1.5")
        found = json.loads(ask(server, path)[1])
        assert (len(found["links"]), found["note"]) == (1, "")


def test_links_hold_the_tokens_that_a_client_may_hand_on(
    current: StreamRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "lan_addresses", lambda: ["192.168.1.5"])
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        access = server.access
        origin = f"http://192.168.1.5:{access.port}"
        view = {"role": "view", "url": f"{origin}/?token={access.view_token}"}
        direct = {"role": "direct", "url": f"{origin}/?token={access.control_token}"}
        found = links(server, f"/share?token={access.control_token}")
        assert [{name: each[name] for name in ("role", "url")} for each in found] == [view, direct]
        found = links(server, f"/share?token={access.view_token}")
        assert [each["url"] for each in found] == [view["url"]]
        assert str(access.control_token) not in json.dumps(found)
        found = links(server, f"/streams/1/share?token={access.view_token}")
        assert found[0]["url"] == f"{origin}/streams/1/?token={access.view_token}"
        assert ask(server, "/share")[0] == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_the_name_by_which_a_client_came_is_used(current: StreamRegistry, host: str) -> None:
    """On a loopback address it is that of a proxy, which needs keys."""
    access = AccessPolicy.on(host, 0, WebOptions(api_keys=("a-key-of-the-server",)))
    with WebServer(current, access) as server:
        path = f"/share?token={server.access.view_token}"
        for name in ("studio.example", "10.0.0.7:8765", "[fd00::1]:80"):
            found = links(server, path, Host=name)
            assert found[0]["url"].startswith(f"http://{name}/?token=")


def test_addresses_of_this_machine_are_those_of_its_networks() -> None:
    for address in lan_addresses():
        assert re.fullmatch(r"\d+(\.\d+){3}", address)
        assert not address.startswith(("127.", "169.254.", "0."))


@pytest.mark.parametrize("text", ["http://10.0.0.1:8765/?token=abc", "x" * 300])
def test_a_qr_code_draws_every_dark_module(text: str) -> None:
    code = qr_path(text)
    rows = [list(row) for row in segno.make_qr(text, error="m").matrix_iter(border=4)]
    assert code.size == len(rows)
    drawn = {
        (x, int(y))
        for begin, y, width, back in re.findall(r"M(\d+) (\d+)h(\d+)v1H(\d+)z", code.path)
        for x in range(int(begin), int(begin) + int(width))
        if begin == back
    }
    assert drawn == {(x, y) for y, row in enumerate(rows) for x, dark in enumerate(row) if dark}


def test_codes_are_not_drawn_in_the_event_loop(
    current: StreamRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take tens of milliseconds, during which no viewer would get video."""
    threads: list[str] = []

    def draw(text: str) -> share.QrCode:
        threads.append(threading.current_thread().name)
        return qr_path(text)

    monkeypatch.setattr(share, "qr_path", draw)
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        assert links(server, f"/share?token={server.access.control_token}", Host="a.example")
    assert threads
    assert "web server" not in threads
