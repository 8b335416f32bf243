"""The words that a small model knows, from its tokenizer's own file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sana_stream.models.weights.tokenizer_files import read_tokenizer

LARGEST = 1 << 20  # bytes; a larger tokenizer has pieces of words and can spell any of them
_WORD = re.compile(r"\w+")
# Words that show nothing by themselves: a prompt of these alone asks for nothing.
_FILLERS = (
    "a all alone along among an and as at by from go goes has have here in is it its look now of"
    " on once over picture scene see story storybook the then there time to under up upon very we"
    " what when where while with without"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Whole words; any other one counts as nothing."""

    words: frozenset[str]  # in lower case

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The vocabulary of a model folder; `None` where its tokenizer knows parts of words.

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
        """The words of a prompt that are not known, each once."""
        return list(dict.fromkeys(word for word in _words(prompt) if word not in self.words))

    @property
    def content_words(self) -> list[str]:
        """The words that show something, in the order of the alphabet."""
        return sorted(self.words.difference(_FILLERS.split()))

    def knows_no_word_of(self, prompt: str) -> bool:
        """Whether no word of a prompt that shows something is known."""
        return not set(self.content_words).intersection(_words(prompt))


def _words(prompt: str) -> list[str]:
    return _WORD.findall(prompt.lower())
