"""The routes of the videos API: `/v1/videos` and `/v1/models`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sana_stream._clock import wall_time
from sana_stream.streaming.web.films import SendFile
from sana_stream.streaming.web.responses import JsonResponse
from sana_stream.streaming.web.served_model import ServedModel

from .handlers import VideoHandlers
from .request import unknown_model
from .schema import Model, ModelList
from .videos import Videos


def video_routes(films: Videos, model: ServedModel, send_file: SendFile) -> list[Route]:
    """The routes of the films of a server.

    Args:
        films: of the server.
        model: makes them.
        send_file: sends their files.
    """
    videos, models = VideoHandlers(films, model, send_file), _ModelHandlers(model)
    film = "/v1/videos/{id}"
    return [
        Route("/v1/videos", videos.list, methods=["GET"]),
        Route("/v1/videos", videos.create, methods=["POST"]),
        Route("/v1/videos/sync", videos.sync, methods=["POST"]),
        Route(film, videos.retrieve, methods=["GET"]),
        Route(film, videos.delete, methods=["DELETE"]),
        Route(f"{film}/content", videos.content, methods=["GET"]),
        Route(f"{film}/remix", videos.remix, methods=["POST"]),
        Route("/v1/models", models.list, methods=["GET"]),
        Route("/v1/models/{name:path}", models.show, methods=["GET"]),
    ]


class _ModelHandlers:
    """Answers requests about the model; every client with access may ask."""

    def __init__(self, model: ServedModel) -> None:
        self._served = model
        self._model = Model(id=model.name, created=int(wall_time()))

    async def list(self, request: Request) -> Response:
        """GET: the model of the server."""
        return JsonResponse(ModelList(data=[self._model]).model_dump())

    async def show(self, request: Request) -> Response:
        """GET: the model, by its name."""
        if (name := request.path_params["name"]) != self._model.id:
            raise unknown_model(name, self._served)
        return JsonResponse(self._model.model_dump())
