"""What clients may know of the model that makes the streams: its words and example prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

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
class KnownWords:
    """The unknown words of a prompt; without a prompt, what the model knows."""

    closed_vocabulary: bool
    unknown: list[UnknownWord]
    topics: dict[str, list[str]] | None = None


@dataclass(frozen=True, slots=True)
class Examples:
    """Prompts to begin with; a picture is a path below the root of the server."""

    examples: list[ExamplePrompt]
    takes_pictures: bool


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model of a server.

    Args:
        unknown_words: finds the unknown words of a prompt, in any notation of prompts. None: the
            model reads any word.
        examples: prompts to begin with.
        topics: phrases that it knows, by topic.
        takes_pictures: whether a stream can begin with a picture and cut to one.
        name: by which clients ask for it.
        size: of a stream whose client asks for no other, such as "448x256".
        fps: of such a stream.
    """

    unknown_words: Callable[[str], Sequence[UnknownWord]] | None = None
    examples: tuple[ExamplePrompt, ...] = ()
    topics: Mapping[str, Sequence[str]] = field(default_factory=dict)
    takes_pictures: bool = True
    name: str = "sana-stream"
    size: str = ""
    fps: float = 16.0

    async def unknown_in(self, prompt: str) -> list[UnknownWord]:
        """The unknown words of a prompt; none for a model that reads any word."""
        find = self.unknown_words
        return [] if find is None else list(await run_in_threadpool(find, prompt))

    async def unknown_of(self, prompts: Iterable[str]) -> dict[str, list[UnknownWord]]:
        """The unknown words of each of the first 50 prompts that have some, by prompt."""
        if (find := self.unknown_words) is None:
            return {}
        asked = list(dict.fromkeys(prompts))[:_MOST_PROMPTS]
        found = await run_in_threadpool(lambda: {prompt: find(prompt) for prompt in asked})
        return {prompt: list(words) for prompt, words in found.items() if words}


ANY_MODEL = ServedModel()


class ModelHandlers:
    """Answers requests about the model; every client with access may ask."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    async def words(self, request: Request) -> Response:
        """GET: the unknown words of the query parameter `prompt`; without it, the known ones."""
        prompt = request.query_params.get("prompt", "")
        if len(prompt) > PROMPT_LIMIT:
            raise HTTPException(400, f"a prompt has at most {PROMPT_LIMIT} characters")
        closed = self._model.unknown_words is not None
        answer: dict[str, Any] = asdict(KnownWords(closed, await self._model.unknown_in(prompt)))
        if "prompt" in request.query_params:  # the page asks at each key: keep it short
            del answer["topics"]
        else:
            answer["topics"] = {name: list(words) for name, words in self._model.topics.items()}
        return JsonResponse(answer)

    async def examples(self, request: Request) -> Response:
        """GET: prompts to begin with."""
        answer = Examples(list(self._model.examples), self._model.takes_pictures)
        return JsonResponse(asdict(answer))


def model_routes(model: ServedModel) -> list[Route]:
    """The routes `/words` and `/examples`."""
    handlers = ModelHandlers(model)
    return [
        Route("/words", handlers.words, methods=["GET"]),
        Route("/examples", handlers.examples, methods=["GET"]),
    ]
