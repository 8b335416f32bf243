"""Prompt embeddings: encoded by the first process, sent to the others.

The other processes load no text encoder, which saves its memory on each device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sana_stream.engine.engine import Engine
from sana_stream.engine.sampling.prompt_mixing import Embedded
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.models.text_encoder import TextEncoder

Prompt = tuple[str, bool]
"""A prompt, and whether it is a negative one."""


def prompts_of(snapshot: Snapshot) -> tuple[Prompt, ...]:
    """The prompts whose embeddings the next block needs: several in a blend, or at weights."""
    mixes = snapshot.mixes[:1] if snapshot.settings.guidance == 1 else snapshot.mixes
    pairs = ((text, number == 1) for number, mix in enumerate(mixes) for text, _ in mix)
    return tuple(dict.fromkeys(pairs))


class FollowerEngine(Engine):
    """The model of a process after the first one; its prompts' embeddings are received.

    Attributes:
        received: the embeddings of the current block's prompts, on the model's device.
    """

    received: Mapping[Prompt, Embedded]

    def encode_prompt(self, prompt: str) -> Embedded:
        """As `Engine.encode_prompt`, of a received prompt."""
        return self.received[prompt, False]

    def encode_negative_prompt(self, prompt: str) -> Embedded:
        """As `Engine.encode_negative_prompt`, of a received prompt."""
        return self.received[prompt, True]

    @classmethod
    def _load_text_encoder(cls, *_: Any, **__: Any) -> TextEncoder:
        return _NoTextEncoder()


class _NoTextEncoder(TextEncoder):
    """Replaces the text encoder where a fingerprint is computed."""

    def __init__(self) -> None:
        """Load nothing."""

    def tokens(self, prompt: str) -> list[int]:
        return []

    def named_parameters(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        return iter(())
