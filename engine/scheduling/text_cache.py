"""Embedded prompts, kept for all streams."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from sana_stream.engine.sampling.denoise import Embed
from sana_stream.engine.sampling.prompt_mixing import Embedded

CACHE_BYTES = 64 << 20


class TextCache:
    """Embeds one prompt at a time and keeps the embeddings that were used last.

    Args:
        embed: embeds a prompt or a negative prompt.
        most_bytes: of all embeddings that are kept.
    """

    def __init__(self, embed: Embed, most_bytes: int = CACHE_BYTES) -> None:
        self._embed = embed
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, bool], Embedded] = OrderedDict()
        self._lock = Lock()
        self.nbytes = 0

    def __call__(self, prompt: str, negative: bool) -> Embedded:
        """The embeddings and mask of a prompt."""
        key = prompt, negative
        with self._lock:  # two at once would take twice the encoder's memory
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            embedded = self._embed(prompt, negative)
            self._kept[key] = embedded
            self.nbytes += _size(embedded)
            while self.nbytes > self._most_bytes:
                _, dropped = self._kept.popitem(last=False)
                self.nbytes -= _size(dropped)
            return embedded


def _size(embedded: Embedded) -> int:
    return sum(tensor.nbytes for tensor in embedded)
