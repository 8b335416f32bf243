"""The picture with which a film begins, as a `data:` URL (RFC 2397) in JSON or in a form."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sana_stream._text import safe_text
from sana_stream.streaming.web.errors import ApiError

from .schema import ALLOWED_IN_VIDEOS, PICTURE


def join_reference(fields: dict[str, Any], has_file: bool) -> dict[str, Any]:
    """The fields of a form as JSON has them: `input_reference[image_url]` becomes a nested field.

    Args:
        fields: of the form, by name.
        has_file: whether the form has the picture as a file.

    Raises:
        ApiError: 400 for a form with both.
    """
    begin = f"{PICTURE}["
    nested = {
        name.removeprefix(begin).removesuffix("]"): value
        for name, value in fields.items()
        if name.startswith(begin) and name.endswith("]")
    }
    if not nested:
        return fields
    if has_file:
        message = f"{PICTURE}: is given as a file and as {begin}…]; leave one of them out"
        raise ApiError(400, message, PICTURE, "invalid_value")
    others = {name: value for name, value in fields.items() if not name.startswith(begin)}
    return {PICTURE: nested} | others


def check_reference(fields: object) -> None:
    """Refuse a picture that is named by a file id, or by the address of another server.

    Raises:
        ApiError: 400.
    """
    value = fields.get(PICTURE) if isinstance(fields, dict) else None
    if not isinstance(value, dict):
        return
    if "file_id" in value:
        raise _refused("file_id: this server keeps no files")
    url = value.get("image_url")
    if isinstance(url, str) and url[:5].lower() != "data:":
        raise _refused(f"image_url {safe_text(url, 60)!r}: this server fetches no pictures")


def decode_data_url(url: str) -> bytes:
    """The data of a `data:` URL in base64.

    Raises:
        ApiError: 400 for another notation, or damaged base64.
    """
    head, _, data = url.partition(",")
    if not head.lower().endswith(";base64"):
        raise _refused("image_url: the data: URL is not in base64")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("image_url: the base64 is damaged") from error


def _refused(reason: str) -> ApiError:
    message = f"{PICTURE}: {reason}; it {ALLOWED_IN_VIDEOS[PICTURE]}"
    return ApiError(400, message, PICTURE, "invalid_value")
