"""The vocabulary of a model whose tokenizer has whole words only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from sana_stream.models.weights.tokenizer_files import read_tokenizer

LARGEST = 1 << 20  # bytes; larger tokenizers have parts of words and can spell any word
SIMILARITY = 0.75  # of two spellings, from 0 to 1
_WORD = re.compile(r"\w+")
# Words that describe nothing by themselves.
_FILLERS = (
    "a all alone along among an and as at by from go goes has have here in is it its look now of"
    " on once over picture scene see story storybook the then there time to under up upon very we"
    " what when where while with without"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that a model was trained on; it ignores all others."""

    words: frozenset[str]  # in lower case

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the vocabulary of a model folder; `None` where the tokenizer has parts of words.

        Raises:
            CheckpointError: the tokenizer's file cannot be used.
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
        return cls(frozenset(word for word in known if _WORD.fullmatch(word)))

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

    def knows_no_word_of(self, prompt: str) -> bool:
        """Whether the vocabulary has no content word of a prompt."""
        return not set(self.content_words).intersection(_words(prompt))


def _words(prompt: str) -> list[str]:
    return _WORD.findall(prompt.lower())
