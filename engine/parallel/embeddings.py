"""Prompt embeddings: encoded by the first process, sent to the others.

The other processes load no text encoder, which saves its memory on each device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from sana_stream.engine.engine import Engine
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.models.text_encoder import TextEncoder

Embedded = tuple[Tensor, Tensor]
"""Embeddings (1, L, C) of a prompt, and mask (1, L)."""

Prompt = tuple[bool, str]
"""Whether a prompt is the negative one, and its text."""

CACHED = 4  # prompts whose embeddings are kept


def prompts_of(snapshot: Snapshot) -> tuple[Prompt, ...]:
    """The prompts whose embeddings the next block needs: several in a blend, or at weights."""
    mixes = snapshot.mixes[:1] if snapshot.settings.guidance == 1 else snapshot.mixes
    pairs = ((number == 1, text) for number, mix in enumerate(mixes) for text, _ in mix)
    return tuple(dict.fromkeys(pairs))


class EmbeddingCache:
    """The embeddings of the last prompts, each encoded once."""

    def __init__(self) -> None:
        self._cached: dict[Prompt, Embedded] = {}

    def get(self, prompt: Prompt, encode: Callable[[str], Embedded]) -> Embedded:
        """The embeddings of a prompt; `encode` is called where they are not cached."""
        if prompt not in self._cached:
            self._cached[prompt] = encode(prompt[1])
            for oldest in list(self._cached)[:-CACHED]:
                del self._cached[oldest]
        return self._cached[prompt]


class FollowerEngine(Engine):
    """The model of a process after the first one; its prompts' embeddings are received.

    Attributes:
        received: the embeddings of the current block's prompts, on the model's device.
    """

    received: Mapping[Prompt, Embedded]

    def encode_prompt(self, prompt: str) -> Embedded:
        """As `Engine.encode_prompt`, of a received prompt."""
        return self.received[False, prompt]

    def encode_negative_prompt(self, prompt: str) -> Embedded:
        """As `Engine.encode_negative_prompt`, of a received prompt."""
        return self.received[True, prompt]

    @classmethod
    def _load_text_encoder(cls, *_: Any, **__: Any) -> TextEncoder:
        return _NoTextEncoder()


class _NoTextEncoder(TextEncoder):
    """Stands in for the text encoder where a fingerprint is computed."""

    def __init__(self) -> None:
        """Load nothing."""

    def tokens(self, prompt: str) -> list[int]:
        return []

    def named_parameters(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        return iter(())
