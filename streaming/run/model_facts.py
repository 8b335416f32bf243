"""What the page shows of a run's model: unknown words of prompts, and prompts to begin with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sana_stream._prompts import IMAGE_MARK, prompt_texts, split_blend, split_negative
from sana_stream.streaming.web.served_model import ExamplePrompt, ServedModel, UnknownWord

from .config import RunConfig
from .model import RunModel

if TYPE_CHECKING:
    from sana_stream.engine.loading.vocabulary import Vocabulary

EMBEDDED_EXAMPLES = (  # made by examples/example_pictures.py, with the seeds 1, 2, ...
    ExamplePrompt("a white boat sails on the sea at dawn, under a clear sky", "example-boat.webp"),
    ExamplePrompt(
        "a red balloon floats over the hills by day, clouds drift by", "example-balloon.webp"
    ),
    ExamplePrompt("a blue train rolls past the village at sunset", "example-train.webp"),
    ExamplePrompt("a red fox walks in the forest, it snows", "example-fox.webp"),
    ExamplePrompt("a green boat sails past the mountains in the rain", "example-rain.webp"),
    ExamplePrompt(
        "a yellow train rolls across the desert at night, under the moon and the stars",
        "example-night.webp",
    ),
)
_MOST_WORDS = 20  # that are named
_KEPT = 512  # prompts whose unknown words are kept: clients ask again every second
_OF_ANY_MODEL = (
    "A red sailboat glides over a calm sea at dawn, soft golden light on the water",
    "A steam train crosses a high stone viaduct in the mountains, drone shot",
    "A fox walks through a snowy forest, snowflakes falling, shallow depth of field",
    "Rain on the window of a cosy cafe, city lights out of focus behind it",
)


def served_model(config: RunConfig, model: RunModel) -> ServedModel:
    """What the page shows of the model that a configuration names.

    Example prompts have pictures with the embedded model, which made them. Another model with a
    vocabulary has no examples.
    """
    from sana_stream.engine.loading.locate import EMBEDDED  # loads torch

    pictures, vocabulary = model.preset.image_start, model.vocabulary
    width, height = config.size or (model.preset.width, model.preset.height)
    facts: dict[str, Any] = {
        "takes_pictures": pictures,
        "name": PurePath(model.preset.name).name or model.preset.name,
        "size": f"{width}x{height}",
        "fps": float(model.preset.fps if config.fps is None else config.fps),
    }
    if vocabulary is None:
        return ServedModel(None, tuple(map(ExamplePrompt, _OF_ANY_MODEL)), **facts)
    examples = EMBEDDED_EXAMPLES if str(config.model) == EMBEDDED else ()
    topics = vocabulary.by_topic or {"words": vocabulary.content_words}
    return ServedModel(word_finder(vocabulary), examples, topics, **facts)


def word_finder(vocabulary: Vocabulary) -> Callable[[str], Sequence[UnknownWord]]:
    """What finds the words of a prompt that a vocabulary does not have."""
    return lru_cache(_KEPT)(partial(unknown_words, vocabulary))


def unknown_words(vocabulary: Vocabulary, prompt: str) -> Sequence[UnknownWord]:
    """The unknown words of a prompt as it is typed: with a blend, weights, a negative prompt."""
    try:
        text = split_negative(split_blend(prompt)[1].partition(IMAGE_MARK)[0])[0]
        text = " ".join(prompt_texts(text))
    except ValueError:  # not written to its end yet
        text = re.sub(r"[~:]?[\d.]+", " ", prompt)  # without its numbers
    return [
        UnknownWord(word, tuple(vocabulary.similar(word)))
        for word in vocabulary.unknown(text)[:_MOST_WORDS]
    ]
