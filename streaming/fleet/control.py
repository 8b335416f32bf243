"""Directing a stream of a fleet, also after its gateway was started again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from sana_stream._prompts import remove_suffix
from sana_stream.errors import CommandError
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pending_changes import PendingChanges
from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt, check_schedule

from .order import StreamOrder

logger = logging.getLogger(__name__)
Schedule = tuple[ScheduledPrompt, ...]
_SCHEDULE: TypeAdapter[Schedule] = TypeAdapter(Schedule)


class GatewayControl(LiveControl):
    """Directs a stream, and keeps the prompts that clients schedule.

    Args:
        keep: stores a schedule, before the block is asked for with which it takes effect.
    """

    def __init__(self, keep: Callable[[Schedule], None]) -> None:
        super().__init__()
        self._keep = keep

    def drain(self, frame: int | None = None) -> PendingChanges:
        """As `LiveControl.drain`."""
        changes = super().drain(frame)
        if changes.story is not None:
            self._keep(changes.story)
        return changes


class ReplayControl(GatewayControl):
    """Directs a continued stream: first by the changes that were stored, then by clients.

    Args:
        keep: as for `GatewayControl`.
        order: of the stream, as it was stored.
        schedule: what clients had scheduled; None: nothing.
        suffix: the model's own words after every prompt.
        fps: of the video.
    """

    def __init__(
        self,
        keep: Callable[[Schedule], None],
        order: StreamOrder,
        schedule: Schedule | None,
        suffix: str,
        fps: float,
    ) -> None:
        super().__init__(keep)
        self._order, self._suffix, self._fps = order, suffix, fps
        self._schedule = schedule
        self._next = order.position.block
        self._end = max((change.block for change in order.changes), default=-1)

    def drain(self, frame: int | None = None) -> PendingChanges:
        """The changes stored with the next block; after the last of them, those of clients."""
        block, self._next = self._next, self._next + 1
        story = self._take_schedule(block, frame)
        if block > self._end:
            changes = super().drain(frame)
            return changes if changes.story is not None else replace(changes, story=story)
        change = self._order.change_at(block)
        prompt = None if change.prompt is None else remove_suffix(change.prompt, self._suffix)
        return PendingChanges(
            prompt, change.negative_prompt, change.seed, blend=change.blend, story=story
        )

    def _take_schedule(self, block: int, frame: int | None) -> Schedule | None:
        """What of the stored schedule had not taken effect before a block; once."""
        schedule, self._schedule = self._schedule, None
        if schedule is None or frame is None or not block:
            return schedule
        before = frame - self._order.start(block) + self._order.start(block - 1)
        return tuple(cue for cue in schedule if cue.at_seconds * self._fps > before)


def schedule_to_json(schedule: Schedule) -> object:
    """A schedule as `schedule_from_json` reads it."""
    return _SCHEDULE.dump_python(schedule, mode="json")


def schedule_from_json(stored: object, stream: str) -> Schedule | None:
    """A stored schedule; None where there is none, or none that can be used, which is logged."""
    if stored is None:
        return None
    try:
        schedule = _SCHEDULE.validate_python(stored)
        check_schedule(schedule)
    except (ValidationError, CommandError):
        logger.warning("%s: the prompts that clients scheduled cannot be read", stream)
        return None
    return schedule
