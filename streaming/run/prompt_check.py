"""Warnings for prompts that are longer than the model reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sana_stream._prompts import prompt_texts

from .plan import RunPlan

if TYPE_CHECKING:
    from sana_stream.models.text_encoder import TextEncoder

logger = logging.getLogger(__name__)
_MOST = 10  # warnings for one story


@dataclass(frozen=True, slots=True)
class PromptCheck:
    """Logs a warning for each prompt that the model does not read to its end."""

    encoder: TextEncoder

    def story(self, plan: RunPlan) -> None:
        """Check every prompt of a run, and its negative prompts where they have an effect."""
        cues = plan.timeline.cues
        texts = (text for cue in cues for text in prompt_texts(cue.prompt))
        prompts = dict.fromkeys(text + plan.prompt_suffix for text in texts)
        cut = [found for prompt in prompts if (found := self.encoder.unread(prompt))]
        if plan.guidance != 1:
            negatives = dict.fromkeys([plan.negative_prompt, *(cue.negative for cue in cues)])
            found = (
                self.encoder.unread(text, with_instruction=False) for text in negatives if text
            )
            cut += [f"negative prompt: {line}" for line in found if line]
        for line in cut[:_MOST]:
            logger.warning("%s", line)
        if len(cut) > _MOST:
            logger.warning("%d more prompts are too long", len(cut) - _MOST)

    def prompt(self, prompt: str) -> None:
        """Check a prompt that a client gives."""
        if line := self.encoder.unread(prompt):
            logger.warning("%s", line)

    def negative(self, prompt: str) -> None:
        """Check a negative prompt that a client gives."""
        if line := self.encoder.unread(prompt, with_instruction=False):
            logger.warning("negative prompt: %s", line)


@contextmanager
def log_once_here() -> Iterator[None]:
    """Mute the text encoder's own warning of long prompts inside the context."""
    log, mute = logging.getLogger("sana_stream.models.text_encoder"), _Mute()
    log.addFilter(mute)
    try:
        yield
    finally:
        log.removeFilter(mute)


class _Mute(logging.Filter):
    """Lets no record pass; an object of its own for each run, as several may run at once."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False
