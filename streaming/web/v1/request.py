"""Reading requests for films: JSON or a form, each with or without a picture."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sana_stream._text import safe_text
from sana_stream.streaming.control.stream_request import first_error
from sana_stream.streaming.web.errors import ApiError
from sana_stream.streaming.web.pictures import check_picture, read_form
from sana_stream.streaming.web.request_body import read_json
from sana_stream.streaming.web.served_model import ServedModel

from .input_reference import check_reference, decode_data_url, join_reference
from .schema import ALLOWED_IN_VIDEOS, IMAGE_URL, MOST_SECONDS, PICTURE, SECONDS, CreateVideo

_WHOLE = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_WHOLE_FIELDS = ("seed", "num_frames", "num_inference_steps")
_NUMBER_FIELDS = ("guidance_scale", "flow_shift", "fps")
_JSON, _FORM = "application/json", "multipart/form-data"
M = TypeVar("M", bound=BaseModel)


async def read_create(request: Request, model: ServedModel) -> tuple[CreateVideo, bytes | None]:
    """What a request to create a film asks for, and the picture with which it begins, as PNG.

    Raises:
        ApiError: a field or the picture cannot be used; 404 for an unknown model.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (_JSON, _FORM):
        raise ApiError(415, f"send {_JSON}, or {_FORM} with a picture as the file {PICTURE}")
    picture = None
    if kind == _FORM:
        form = await read_form(request, data_url=IMAGE_URL)
        if other := form.files.keys() - {PICTURE}:
            name = safe_text(min(other), 40)
            raise ApiError(400, f"{name!r}: a film has one file, {PICTURE}", name, "unknown_file")
        picture = form.files.get(PICTURE)
        given = {name: _typed(name, text) for name, text in form.fields.items()}
        fields: object = join_reference(given, has_file=picture is not None)
    else:
        fields = await read_json(request, data_url=True)
    check_reference(fields)
    wanted = parse(CreateVideo, fields)
    if wanted.model not in (None, model.name):
        raise unknown_model(str(wanted.model), model)
    if wanted.input_reference is not None:
        picture = await run_in_threadpool(decode_data_url, wanted.input_reference.image_url)
    return wanted, None if picture is None else await _checked(picture, model)


async def read_fields(request: Request, model: type[M]) -> M:
    """The JSON object of a request; raises ApiError."""
    return parse(model, await read_json(request))


def parse(model: type[M], fields: object) -> M:
    """Check the fields of a request; raises ApiError, which names the first that is wrong."""
    if not isinstance(fields, dict):
        raise ApiError(400, 'send a JSON object such as {"prompt": "a red boat"}')
    allowed = {name: ALLOWED_IN_VIDEOS[name] for name in model.model_fields}
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        message, param = first_error(error, allowed, "a film")
        known = param in allowed or param is None
        code = "invalid_value" if known else "unknown_parameter"
        raise ApiError(400, message, param, code) from error


def seconds_of(text: str | float | None) -> float:
    """The length that a request gives; raises ApiError for one that is not possible."""
    try:
        seconds = float(SECONDS if text is None else text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_SECONDS:
        message = f"seconds: {ALLOWED_IN_VIDEOS['seconds']}"
        raise ApiError(400, message, "seconds", "invalid_value")
    return seconds


def unknown_model(name: str, model: ServedModel) -> ApiError:
    """The error for a model that this server does not have."""
    message = f"the model {safe_text(name, 80)!r} does not exist: this server has {model.name!r}"
    return ApiError(404, message, "model", "model_not_found")


async def _checked(picture: bytes, model: ServedModel) -> bytes:
    if not model.takes_pictures:
        message = f"{PICTURE}: this model cannot begin with a picture; leave it out"
        raise ApiError(400, message, PICTURE, "invalid_value")
    try:
        return await check_picture(picture)
    except HTTPException as error:
        code = "invalid_image"
        raise ApiError(error.status_code, f"{PICTURE}: {error.detail}", PICTURE, code) from error


def _typed(name: str, text: str) -> Any:
    """A field of a form as JSON would have it."""
    if name in _WHOLE_FIELDS and _WHOLE.fullmatch(text):
        return int(text)
    if name in _NUMBER_FIELDS and _NUMBER.fullmatch(text):
        return float(text)
    return text
