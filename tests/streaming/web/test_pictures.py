"""Uploaded pictures: what is accepted becomes an upright PNG, everything else one clear line."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sana_stream.streaming.web import pictures
from sana_stream.streaming.web.pictures import check_picture, read_form, read_picture

BOUNDARY = "b0undary"


def file_of(image: Image.Image, kind: str = "png", **more: Any) -> bytes:
    """An image as a file."""
    data = BytesIO()
    image.save(data, kind, **more)
    return data.getvalue()


def halves(width: int = 8, height: int = 4) -> Image.Image:
    """An image whose left half is red and whose right half is blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return image


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    """One field of a form."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def request(
    *parts: bytes, kind: str = f"multipart/form-data; boundary={BOUNDARY}", end: bool = True
) -> Request:
    """A POST request with these parts as its body."""
    messages = [*parts, *([f"--{BOUNDARY}--\r\n".encode()] if end else [])]

    async def receive() -> dict[str, Any]:
        more = len(messages) > 1
        body = messages.pop(0) if messages else b""
        return {"type": "http.request", "body": body, "more_body": more}

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def refusal(call: Awaitable[Any]) -> tuple[int, str]:
    """The status and the reason of a refusal."""

    async def run() -> Any:
        return await call

    with pytest.raises(HTTPException) as found:
        asyncio.run(run())
    reason = found.value.detail
    assert reason.isprintable()
    assert len(reason) < 300
    return found.value.status_code, reason


def checked(data: bytes) -> Image.Image:
    return opened(asyncio.run(check_picture(data)))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "ppm"])
def test_a_picture_becomes_a_png(kind: str) -> None:
    more = {"quality": 100, "lossless": True} if kind == "webp" else {}
    image = checked(file_of(halves(64, 32), kind, **more))
    assert image.size == (64, 32)
    left, right = image.getpixel((4, 16)), image.getpixel((60, 16))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > 200 > left[2]
    assert right[2] > 200 > right[0]


def test_a_turned_picture_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image = checked(file_of(halves(), "png", exif=exif))
    assert image.size == (4, 8)
    assert image.getpixel((0, 0)) == (255, 0, 0)


def test_the_first_picture_of_an_animation_is_taken() -> None:
    red, blue = (Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 0, 255)))
    for kind in ("gif", "png", "webp"):
        more = {"lossless": True} if kind == "webp" else {}
        data = file_of(red, kind, save_all=True, append_images=[blue], **more)
        assert checked(data).getpixel((0, 0)) == (255, 0, 0)


def test_transparent_parts_are_white() -> None:
    assert checked(file_of(Image.new("RGBA", (2, 2), (255, 0, 0, 0)))).getpixel((0, 0)) == (
        *(255, 255, 255),
    )


def test_a_large_picture_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "KEPT_PIXELS", 100)
    assert checked(file_of(halves(40, 10))).size == (20, 5)
    assert checked(file_of(halves(10, 10))).size == (10, 10)
    assert checked(file_of(halves(1000, 1))).size == (316, 1)


def bomb() -> bytes:
    """A PNG of few bytes whose header announces 10 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    size = (100_000).to_bytes(4, "big")
    head = chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10_000)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"not a picture at all", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (file_of(halves(64, 64))[:60], "damaged or truncated"),
        (file_of(halves(64, 64), "jpeg")[:-300], "damaged or truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "damaged or truncated"),
        (b"\xff\xd8\xff" + b"\xff\xda" * 200, "damaged or truncated"),
        (bomb(), "megapixels"),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    status, said = refusal(check_picture(data))
    assert status == 400
    assert reason in said


def test_more_pixels_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PICTURE_PIXELS", 100)
    assert "megapixels" in refusal(check_picture(file_of(halves(11, 10))))[1]


def test_more_bytes_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PICTURE_BYTES", 100)
    assert refusal(check_picture(bytes(101)))[0] == 413


def test_a_form_has_fields_and_one_file() -> None:
    data = file_of(halves())
    form = asyncio.run(
        read_form(request(part("prompt", "ein Böot".encode()), part("image", data, "a.png")))
    )
    assert form.fields == {"prompt": "ein Böot"}
    assert form.files == {"image": data}


def test_a_picture_is_a_form_or_the_body() -> None:
    data = file_of(halves())
    for given in (
        request(part("image", data, "../../etc/passwd")),
        request(data, kind="image/png", end=False),
    ):
        assert opened(asyncio.run(read_picture(given)).picture).size == (8, 4)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (request(part("image", b"", "a.png")), 400),
        (request(part("other", b"x", "a.png")), 400),
        (request(part("image", b"text")), 400),
        (request(part("image", b"x", "a.png"), part("prompts", b"a boat")), 400),
        (request(b"prompt=x", kind="application/x-www-form-urlencoded"), 415),
        (request(part("image", b"x", "a.png"), part("image", b"x", "b.png")), 400),
        (request(part("a", b"1"), part("a", b"2")), 400),
        (request(*(part(f"f{i}", b"1") for i in range(40))), 400),
        (request(part("a", bytes(70_000))), 413),
        (request(part("image", b"x", "a.png"), end=False), 400),
        (request(b"no form at all"), 400),
        (request(kind="multipart/form-data"), 400),
        (request(kind="multipart/form-data; boundary=" + "x" * 5000), 400),
        (request(*(bytes(1 << 20) for _ in range(17)), kind="image/png"), 413),
    ],
)
def test_a_damaged_form_is_refused(given: Request, status: int) -> None:
    assert refusal(read_picture(given))[0] == status
