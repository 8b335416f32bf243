"""Requests to the videos API: films, pictures and forms."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image

from ..serving.local_server import LocalServer

PICTURE = "input_reference"


def picture(width: int = 96, height: int = 64) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(data, "png")
    return data.getvalue()


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def create(served: LocalServer, **fields: object) -> tuple[int, dict[str, Any]]:
    status, body, _ = served.ask("POST", "/v1/videos", fields)
    return status, json.loads(body)


def completed(served: LocalServer, **fields: object) -> str:
    """The id of a film that is made."""
    status, film = create(served, **{"prompt": "a red boat", "seconds": "1", **fields})
    assert status == 200, film
    path = f"/v1/videos/{film['id']}"
    served.await_that(lambda: served.json(path)["status"] not in ("queued", "in_progress"))
    assert served.json(path)["status"] == "completed", served.json(path)
    return film["id"]


def form(boundary: str, *parts: tuple[str, bytes, bool]) -> bytes:
    """A multipart body of (name, content, whether it is a file)."""
    lines = []
    for name, content, is_file in parts:
        file = '; filename="a.png"\r\nContent-Type: image/png' if is_file else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        lines.append(head.encode() + content + b"\r\n")
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def by_url(url: str, **more: object) -> dict[str, object]:
    """A film that begins with the picture at a URL."""
    return {"prompt": "x", "input_reference": {"image_url": url, **more}}
