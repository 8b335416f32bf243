"""The changes of prompt that one client asks for, by event id."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from sana_stream._prompts import IMAGE_MARK, blocks_of_chunks
from sana_stream.errors import CommandError
from sana_stream.streaming.control.live_control import LiveControl

from .messages import Interaction, SessionError

_IDS_KEPT = 1000  # against which a repeated id is checked


class Interactions:
    """Passes changes of prompt to a stream and keeps their ids.

    An id that is repeated with the same content is a retry and changes nothing.

    Args:
        control: of the stream.
    """

    def __init__(self, control: LiveControl) -> None:
        self._control = control
        self._known: dict[str, Interaction] = {}
        self._open: dict[str, None] = {}  # not reported as completed

    def submit(self, interaction: Interaction) -> str:
        """Change the prompt from the next block on, and return the event's id.

        Raises:
            SessionError: the id is known with another content, or the prompt cannot be used.
        """
        event_id = interaction.event_id or uuid4().hex
        known = self._known.get(event_id)
        if known == interaction:
            return event_id
        if known is not None:
            message = f"event_id {event_id!r} was used for another interaction: give a new one"
            raise SessionError("event_id_conflict", message, event_id)
        self._change(interaction, event_id)
        self._known[event_id] = interaction
        self._open[event_id] = None
        while len(self._known) > _IDS_KEPT:
            del self._known[next(iter(self._known))]
        return event_id

    def complete(self, event_ids: Iterable[str]) -> None:
        """Record that events were reported as completed."""
        for event_id in event_ids:
            self._open.pop(event_id, None)

    @property
    def open(self) -> tuple[str, ...]:
        """The events that were not reported as completed, oldest first."""
        return tuple(self._open)

    def _change(self, interaction: Interaction, event_id: str) -> None:
        chunks, prompt = interaction.transition_chunks, interaction.event.prompt
        blocks = None if chunks is None else blocks_of_chunks(chunks)
        try:
            if IMAGE_MARK in prompt:
                raise CommandError(f"{IMAGE_MARK} names a picture, which a prompt here cannot have")
            if not self._control.prompt(prompt, blocks, event_id):
                raise CommandError("the prompt is empty")
        except CommandError as error:
            raise SessionError("interaction_failed", str(error), event_id) from error
