"""The vocabulary of a model whose tokenizer has whole words only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError
from sana_stream.models.schema import OpenSchema, check_values
from sana_stream.models.weights.files import read_json
from sana_stream.models.weights.tokenizer_files import read_tokenizer

TOPICS_FILE = "vocabulary.json"  # optional, in the model folder
LARGEST = 1 << 20  # bytes; larger tokenizers have parts of words and can spell any word
SIMILARITY = 0.75  # of two spellings, from 0 to 1
_WORD = re.compile(r"\w+")
# Words that describe nothing by themselves.
_FILLERS = (
    "a all alone along among an and as at by from go goes has have here in is it its look now of"
    " on once over picture scene see story storybook the then there time to under up upon very we"
    " what when where while with without"
)
_Name = Annotated[str, Field(min_length=1, max_length=100)]
_Topics = dict[_Name, Annotated[list[_Name], Field(max_length=2000)]]


class _TopicsFile(OpenSchema):
    """`vocabulary.json`: phrases of the vocabulary by topic."""

    topics: Annotated[_Topics, Field(max_length=50)] = Field({})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that a model was trained on; it ignores all others."""

    words: frozenset[str]  # in lower case
    topics: tuple[tuple[str, tuple[str, ...]], ...] = ()  # phrases of these words by topic

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the vocabulary of a model folder; `None` where the tokenizer has parts of words.

        Raises:
            CheckpointError: the tokenizer's file or `vocabulary.json` cannot be used.
        """
        path = folder / "tokenizer" / "tokenizer.json"
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        values = read_tokenizer(path)
        model = values["model"]
        if model.get("type") != "WordLevel" or not isinstance(model["vocab"], dict):
            return None
        special = {token["content"] for token in values.get("added_tokens", ())}
        known = (word.lower() for word in model["vocab"] if word not in special)
        words = frozenset(word for word in known if _WORD.fullmatch(word))
        return cls(words, _read_topics(folder / TOPICS_FILE, words))

    def unknown(self, prompt: str) -> list[str]:
        """The words of a prompt that describe something and are not known, each once."""
        known = self.words.union(_FILLERS.split())
        return list(dict.fromkeys(word for word in _words(prompt) if word not in known))

    def nearest(self, word: str) -> str | None:
        """The known word that is spelled most like an unknown one; `None` where none is."""
        return next(iter(self.similar(word, 1)), None)

    def similar(self, word: str, most: int = 3) -> list[str]:
        """The known words that are spelled like an unknown one, most alike first."""
        return get_close_matches(word, self.content_words, n=most, cutoff=SIMILARITY)

    @property
    def content_words(self) -> list[str]:
        """The words that describe something, in alphabetical order."""
        return sorted(self.words.difference(_FILLERS.split()))

    @property
    def by_topic(self) -> dict[str, list[str]]:
        """Phrases by topic, and all content words that are in none of them as `other words`.

        Empty where the model folder lists no topics.
        """
        if not self.topics:
            return {}
        listed = {word for _, phrases in self.topics for each in phrases for word in _words(each)}
        others = [word for word in self.content_words if word not in listed]
        found = {topic: list(phrases) for topic, phrases in self.topics}
        return found | ({"other words": others} if others else {})

    def knows_no_word_of(self, prompt: str) -> bool:
        """Whether the vocabulary has no content word of a prompt."""
        return not set(self.content_words).intersection(_words(prompt))


def _words(prompt: str) -> list[str]:
    return _WORD.findall(prompt.lower())


def _read_topics(path: Path, words: frozenset[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The topics in a file, without phrases that have an unknown word; empty without the file."""
    if not path.is_file():
        return ()
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{safe_text(path)} is larger than {LARGEST >> 20} MiB")
    topics = check_values(_TopicsFile, read_json(path), path, CheckpointError).get("topics", {})
    known = (
        (topic, tuple(phrase for phrase in phrases if words.issuperset(_words(phrase))))
        for topic, phrases in topics.items()
    )
    return tuple((topic, phrases) for topic, phrases in known if phrases)
