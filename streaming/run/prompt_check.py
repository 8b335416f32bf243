"""What a model does not read of prompts that are longer than it can read: told, never silent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .config import Request

if TYPE_CHECKING:
    from sana_stream.models.text_encoder import TextEncoder

_TOLD = 10  # prompts of one story


@dataclass(frozen=True, slots=True)
class PromptCheck:
    """Tells `note` of each prompt that the model does not read to its end."""

    encoder: TextEncoder
    note: Callable[[str], None]

    def story(self, request: Request) -> None:
        """Look at every prompt of a run, and at its negative ones where they have an effect."""
        cues = request.timeline.cues
        prompts = dict.fromkeys(cue.prompt + request.prompt_suffix for cue in cues)
        cut = [found for prompt in prompts if (found := self.encoder.unread(prompt))]
        if request.guidance != 1:
            negatives = dict.fromkeys([request.negative_prompt, *(cue.negative for cue in cues)])
            found = (
                self.encoder.unread(text, with_instruction=False) for text in negatives if text
            )
            cut += [f"negative prompt: {told}" for told in found if told]
        for told in cut[:_TOLD]:
            self.note(told)
        if len(cut) > _TOLD:
            self.note(f"{len(cut) - _TOLD} more prompts are too long")

    def prompt(self, prompt: str) -> None:
        """Look at a prompt that somebody gives."""
        if told := self.encoder.unread(prompt):
            self.note(told)

    def negative(self, prompt: str) -> None:
        """Look at a negative prompt that somebody gives."""
        if told := self.encoder.unread(prompt, with_instruction=False):
            self.note(f"negative prompt: {told}")


@contextmanager
def log_once_here() -> Iterator[None]:
    """While this is entered, the library's own warning of a long prompt is not repeated."""
    log = logging.getLogger("sana_stream.models.text_encoder")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
