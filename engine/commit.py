"""Prompts prepared for the transformer, and a block taken into the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models.state import State
from ..models.transformer import TextContext
from .calls import TransformerCalls
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .engine import Engine


def prepare_texts(engine: Engine, head: Snapshot) -> tuple[TextContext, ...]:
    """The prompt's keys and values, and the negative prompt's where guidance needs them."""
    embedded = [engine.encode_prompt(head.prompt)]
    if len(head.states) > 1:
        embedded.append(engine.encode_negative_prompt(head.negative_prompt))
    return tuple(engine.denoiser.prepare_text(*pair) for pair in embedded)


def committed(
    transformer: TransformerCalls, head: Snapshot, texts: tuple[TextContext, ...]
) -> tuple[State, ...]:
    """The states with the pending block in them, under the prompt that holds now."""
    pending = head.pending
    if pending is None:
        return head.states
    return tuple(
        state.add(transformer.commit(pending, text, state.past(), state.position))
        for state, text in zip(head.states, texts, strict=True)
    )
