"""Requests that cut a running stream to an uploaded picture."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sana_stream.errors import CommandError

from .pictures import read_picture
from .registry import ActiveStream
from .responses import JsonResponse
from .served_model import ServedModel


def cut_handler(
    require_control: Callable[[Request], ActiveStream], model: ServedModel
) -> Callable[[Request], Awaitable[Response]]:
    """What answers requests to cut to a picture.

    Args:
        require_control: finds the stream that a request may direct.
        model: of the streams.
    """

    async def cut(request: Request) -> Response:
        """POST: cut to a picture, the body or the field `image` of a form, which may have `prompt`.

        It takes effect with the next block.
        """
        stream = require_control(request)
        if not model.takes_pictures:
            raise HTTPException(400, "this model cannot cut to a picture")
        upload = await read_picture(request, fields=("prompt",))
        try:
            prompt = stream.control.cut(upload.picture, upload.fields.get("prompt", ""))
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        unknown, frame = await model.unknown_in(prompt), stream.feed.frames
        fields = {"prompt": prompt or None, "from_frame_or_later": frame, "unknown_words": unknown}
        return JsonResponse(fields, 202)

    return cut
