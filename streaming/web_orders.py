"""The orders of a server as JSON: listed, taken, taken back."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .access import require_director
from .programme import OrderError, Programme, ProgrammeFullError
from .web_answer import JsonResponse
from .web_body import read_json


class OrderHandlers:
    """Answers requests about a programme; only those who may direct see or change it."""

    def __init__(self, programme: Programme) -> None:
        self._programme = programme

    async def all_or_another(self, request: Request) -> Response:
        """Every order, oldest first; or take one more.

        An order is `{"story": "…", "seed": 0, "seconds": 60}`; only the story must be.
        """
        require_director(request)
        if request.method == "POST":
            return await self._submit(request)
        return JsonResponse([order.as_dict() for order in self._programme.orders()])

    async def cancel(self, request: Request) -> Response:
        """End the order of this number."""
        require_director(request)
        number = request.path_params["number"]
        known = {str(order.number) for order in self._programme.orders()}
        if number not in known or not self._programme.cancel(int(number)):
            raise HTTPException(404, "no such stream is waiting or on")
        return Response(status_code=204)

    async def _submit(self, request: Request) -> Response:
        fields = await read_json(request)
        try:
            order = await run_in_threadpool(self._programme.submit, fields)
        except ProgrammeFullError as error:
            raise HTTPException(503, str(error)) from error
        except OrderError as error:
            raise HTTPException(400, str(error)) from error
        return JsonResponse(order.as_dict(), 201)
