"""Pictures that clients upload: read within limits, checked, decoded outside of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO
from threading import BoundedSemaphore

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from sana_stream._files import parse_json
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .request_body import BODY_LIMIT, UPLOAD_LIMIT, UPLOAD_SECONDS, is_upload, upload_parts

PICTURE_BYTES = UPLOAD_LIMIT - BODY_LIMIT  # the rest is for the other fields of the form
PICTURE_PIXELS = 50_000_000
KEPT_PIXELS = 1 << 21  # a larger picture is reduced: no stream is this large
_FIELDS = 32  # of a form
_DECODERS = BoundedSemaphore(2)  # pictures that are decoded at the same time


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A multipart form: text fields by name, and the content of its file by the file's field."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


async def read_form(request: Request, data_url: str | None = None) -> UploadForm:
    """Read a multipart form (RFC 7578) with at most one file.

    Args:
        request: its body is the form.
        data_url: the text field that may be a `data:` URL, which has the limit of an upload; the
            other fields have the usual limit together.

    Raises:
        HTTPException: 400 for a damaged form or a repeated field, 408 for a slow one, 413 for one
            that is too large.
    """
    parser = MultiPartParser(
        request.headers, upload_parts(request), max_files=1, max_fields=_FIELDS
    )
    parser.max_part_size = UPLOAD_LIMIT  # no argument in Starlette 0.40
    try:
        form = await asyncio.wait_for(parser.parse(), UPLOAD_SECONDS)
    except TimeoutError as error:
        raise HTTPException(408, "the request took too long") from error
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from error
    except (ValueError, KeyError, UnicodeError) as error:
        raise HTTPException(400, "the form cannot be read: it is damaged") from error
    try:
        items = form.multi_items()
        if len({name for name, _ in items}) < len(items):
            raise HTTPException(400, "the form repeats a field: send each once")
        fields = {name: value for name, value in items if isinstance(value, str)}
        url = "" if data_url is None else fields.get(data_url, "")
        free = len(url) if url[:5].lower() == "data:" else 0
        if sum(len(value) for value in fields.values()) - free > BODY_LIMIT:
            raise HTTPException(413, f"the fields of a form have at most {BODY_LIMIT} characters")
        uploads = {name: value for name, value in items if isinstance(value, UploadFile)}
        return UploadForm(fields, {name: await file.read() for name, file in uploads.items()})
    finally:
        await form.close()


def parse_field(text: str) -> object:
    """The value of a form's field that is JSON, such as a number; any other text as it is."""
    try:
        return parse_json(text, BODY_LIMIT, 4)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class UploadedPicture:
    """A picture as `check_picture` returns it, and the other fields of its form."""

    picture: bytes
    fields: dict[str, str] = field(default_factory=dict)


async def read_picture(
    request: Request, name: str = "image", fields: Collection[str] = ()
) -> UploadedPicture:
    """Read the picture that is the body of a request, or a file in its form.

    Args:
        request: its body is an image or a form.
        name: the field of the form that is the picture.
        fields: text fields that the form may have.

    Raises:
        HTTPException: as `read_form` and `check_picture`; 400 for a form without this picture, or
            with other fields; 415 for another body.
    """
    content_type = request.headers.get("content-type", "")
    if not is_upload(content_type):
        raise HTTPException(415, f"send an image, or a form with the file {name}")
    if not content_type.lower().startswith("multipart/"):
        return UploadedPicture(await check_picture(await _body(request)))
    form = await read_form(request)
    if list(form.files) != [name]:
        raise HTTPException(400, f"send one file, as the field {name} of the form")
    if other := form.fields.keys() - set(fields):
        allowed = ", ".join((name, *fields))
        raise HTTPException(400, f"{safe_text(min(other), 40)!r}: the form may have {allowed}")
    return UploadedPicture(await check_picture(form.files[name]), form.fields)


async def check_picture(data: bytes) -> bytes:
    """Decode an uploaded picture in a worker thread.

    Args:
        data: the content of the file, at most `PICTURE_BYTES` bytes.

    Returns:
        A PNG: upright by its EXIF orientation, in sRGB, transparent parts on white, of at most
        `KEPT_PIXELS` pixels. An animation gives its first picture.

    Raises:
        HTTPException: 413 for too many bytes, 400 for a file that is damaged, has more than
            `PICTURE_PIXELS` pixels or is not a picture.
    """
    if not data:
        raise HTTPException(400, "the picture is empty: send a PNG, JPEG or WebP file")
    if len(data) > PICTURE_BYTES:
        raise HTTPException(413, f"a picture has at most {PICTURE_BYTES >> 20} MiB")
    try:
        return await run_in_threadpool(_normalized, data)
    except ConfigError as error:
        raise HTTPException(400, str(error)) from error


def _normalized(data: bytes) -> bytes:
    from PIL import Image

    from sana_stream.engine.media.image_file import read_image_data

    with _DECODERS:
        image = Image.fromarray(read_image_data(data, PICTURE_PIXELS, lambda _: None))
        if (pixels := image.width * image.height) > KEPT_PIXELS:
            scale = (KEPT_PIXELS / pixels) ** 0.5
            size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        png = BytesIO()
        image.save(png, "png", compress_level=1)
        return png.getvalue()


async def _body(request: Request) -> bytes:
    async def collect() -> bytes:
        return b"".join([part async for part in upload_parts(request)])

    try:
        return await asyncio.wait_for(collect(), UPLOAD_SECONDS)
    except TimeoutError as error:
        raise HTTPException(408, "the request took too long") from error
