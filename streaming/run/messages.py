"""Sentences of a run's log and of its errors."""

from __future__ import annotations

import errno
import re
import shlex
from typing import TYPE_CHECKING

from sana_stream._prompts import prompt_texts
from sana_stream._text import safe_text

if TYPE_CHECKING:
    from .plan import RunPlan

LONGEST_LINE = 1000  # characters
UNKNOWN_WORDS = 8  # of a prompt, that are named
NO_MEMORY = (
    "there is not enough memory: end other programs, or ask for a smaller picture (size=), shorter"
    " blocks (block_frames=) or fewer frames decoded at once (decode_frames=1)"
)
NO_MARK = (
    "the video does not say that a model has generated it; the EU's AI Act (Regulation 2024/1689,"
    " article 50) asks for a machine-readable mark from August 2026 on: leave mark=False out, or"
    " mark the video yourself before you publish it"
)
_NO_MEMORY = re.compile(
    r"can.?t allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc", re.I
)


def one_line(error: BaseException) -> str:
    """The message of an error on one line, safe for a terminal and never empty."""
    return safe_text(_message(error), LONGEST_LINE) or "no reason is known"


def _message(error: BaseException) -> str:
    if is_out_of_memory(error):
        return NO_MEMORY
    if isinstance(error, OSError) and error.strerror and type(error).__str__ is OSError.__str__:
        reason = error.strerror.lower()
        return reason if error.filename is None else f"{safe_text(error.filename)}: {reason}"
    return str(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whichever library raised it."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def format_bytes(count: int) -> str:
    """A number of bytes in MiB, or in GiB from 10 GiB on."""
    mebi = count / (1 << 20)
    return f"{mebi:.0f} MiB" if mebi < 10240 else f"{mebi / 1024:.1f} GiB"


def unknown_words_note(prompt: str, plan: RunPlan) -> str | None:
    """The line for a prompt with words that the model does not know; None for any other prompt."""
    vocabulary, words = plan.vocabulary, " ".join(prompt_texts(prompt))
    if vocabulary is None or not (unknown := vocabulary.unknown(words)):
        return None
    listed = f"sana-stream info {shlex.quote(str(plan.config.model))} lists what it knows"
    shown = safe_text(prompt)
    if vocabulary.knows_no_word_of(words):
        return f'of "{shown}" no word is known to this model, it will show what it likes; {listed}'
    named = ", ".join(
        safe_text(word if near is None else f"{word} (did you mean {near}?)", 80)
        for word, near in ((word, vocabulary.nearest(word)) for word in unknown[:UNKNOWN_WORDS])
    )
    more = f" and {len(unknown) - UNKNOWN_WORDS} more" if len(unknown) > UNKNOWN_WORDS else ""
    return f'of "{shown}" this model does not know {named}{more}; {listed}'


def story_notes(plan: RunPlan) -> list[str]:
    """The lines for a story: what was left out or interpreted, and what has no effect."""
    story = plan.story
    negative = any(cue.negative for cue in story.cues)
    if not negative or plan.guidance != 1:
        return list(story.notes)
    note = "its negative prompts have no effect at guidance 1 and are left out: add guidance=4"
    return [*story.notes, f"{story.name}: {note}"]
