"""What clients may know of the model that makes the streams: its words and example prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sana_stream.streaming.control.live_control import PROMPT_LIMIT

from .responses import JsonResponse

_MOST_PROMPTS = 50  # whose unknown words are found for one answer


@dataclass(frozen=True, slots=True)
class UnknownWord:
    """A word of a prompt that the model does not know, and the nearest ones that it knows."""

    word: str
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExamplePrompt:
    """A prompt that the model can show, and the name of a picture of it among the page's files."""

    prompt: str
    picture: str | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model of a server.

    Args:
        unknown_words: finds the unknown words of a prompt, in any notation of prompts. None: the
            model reads any word.
        examples: prompts to begin with.
        takes_pictures: whether a stream can begin with a picture and cut to one.
        name: by which clients ask for it.
        size: of a stream whose client asks for no other, such as "224x128".
        fps: of such a stream.
    """

    unknown_words: Callable[[str], Sequence[UnknownWord]] | None = None
    examples: tuple[ExamplePrompt, ...] = ()
    takes_pictures: bool = True
    name: str = "sana-stream"
    size: str = ""
    fps: float = 16.0

    async def unknown_in(self, prompt: str) -> list[dict[str, object]]:
        """The unknown words of a prompt for JSON; none for a model that reads any word."""
        return (await self.unknown_of([prompt])).get(prompt, [])

    async def unknown_of(self, prompts: Iterable[str]) -> dict[str, list[dict[str, object]]]:
        """The unknown words of each of the first 50 prompts that have some, by prompt."""
        if (find := self.unknown_words) is None:
            return {}
        asked = list(dict.fromkeys(prompts))[:_MOST_PROMPTS]
        found = await run_in_threadpool(lambda: {prompt: find(prompt) for prompt in asked})
        return {prompt: list(map(asdict, words)) for prompt, words in found.items() if words}


ANY_MODEL = ServedModel()


class ModelHandlers:
    """Answers requests about the model; every client with access may ask."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    async def words(self, request: Request) -> Response:
        """GET: the unknown words of the query parameter `prompt`."""
        prompt = request.query_params.get("prompt", "")
        if len(prompt) > PROMPT_LIMIT:
            raise HTTPException(400, f"a prompt has at most {PROMPT_LIMIT} characters")
        closed = self._model.unknown_words is not None
        unknown = await self._model.unknown_in(prompt)
        return JsonResponse({"closed_vocabulary": closed, "unknown": unknown})

    async def examples(self, request: Request) -> Response:
        """GET: prompts to begin with; `picture` is a path below the root of the server, or null."""
        examples = [
            {"prompt": each.prompt, "picture": each.picture} for each in self._model.examples
        ]
        pictures = self._model.takes_pictures
        return JsonResponse({"examples": examples, "takes_pictures": pictures})


def model_routes(model: ServedModel) -> list[Route]:
    """The routes `/words` and `/examples`."""
    handlers = ModelHandlers(model)
    return [
        Route("/words", handlers.words, methods=["GET"]),
        Route("/examples", handlers.examples, methods=["GET"]),
    ]
