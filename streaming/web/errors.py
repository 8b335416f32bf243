"""Answers to requests that are refused: one line of text, or JSON below `/v1`."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sana_stream._text import safe_text

_MESSAGE = 400  # characters
_CODES = {
    401: "invalid_api_key",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
    503: "overloaded",
}


class ApiError(HTTPException):
    """A refused request of the videos API.

    Args:
        status: of the answer.
        message: what was given, what is allowed, what to do.
        param: the field of the request that is wrong.
        code: for programs.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param = param
        self.code = code


async def answer_error(request: Request, error: Exception) -> Response:
    """The reason why a request was refused."""
    assert isinstance(error, HTTPException)
    param, code = (error.param, error.code) if isinstance(error, ApiError) else (None, None)
    path, headers = request.scope["path"], error.headers
    return refusal(path, error.status_code, error.detail, headers, param, code)


def refusal(
    path: str,
    status: int,
    reason: str,
    headers: Mapping[str, str] | None = None,
    param: str | None = None,
    code: str | None = None,
) -> Response:
    """The answer to a refused request of a path, in the form that its clients expect."""
    reason = safe_text(reason, _MESSAGE)
    if not path.startswith("/v1/"):
        return PlainTextResponse(f"{reason}\n", status, headers)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": reason, "type": kind, "param": param, "code": code or _CODES.get(status)}
    return JSONResponse({"error": error}, status, headers)
