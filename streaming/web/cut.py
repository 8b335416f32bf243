"""Requests that cut a running stream to an uploaded picture."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sana_stream.errors import CommandError

from .pictures import read_picture
from .prompt_answer import answer_accepted
from .registry import ActiveStream
from .served_model import ServedModel


class CutForm(BaseModel):
    """The text fields of a form with the picture `image`."""

    prompt: str = ""


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
        upload = await read_picture(request, fields=CutForm.model_fields)
        try:
            prompt = stream.control.cut(upload.picture, upload.fields.get("prompt", ""))
        except CommandError as error:
            raise HTTPException(400, str(error)) from error
        return await answer_accepted(model, stream, prompt)

    return cut
