"""Orders of streams as JSON, in the store and in calls."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field, ValidationError

from sana_stream._files import parse_json
from sana_stream._prompts import MOST_BLOCKS
from sana_stream._text import safe_text
from sana_stream.engine.snapshot.schema import Count, Name, StoredSettings, Words, first_problem
from sana_stream.engine.snapshot.snapshot import SessionSettings
from sana_stream.errors import ConfigError, StoreError
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.schema import Schema

from .order import StreamChange, StreamOrder, StreamPosition

FORMAT = "sana-stream order 1"
LIMIT = 64 << 20  # bytes


class _Change(Schema):
    block: Count
    prompt: Words | None = None
    negative_prompt: Words | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    image: Annotated[str, Field(pattern=r"^image-[0-9a-f]{16}\.png$")] | None = None
    blend: Annotated[int, Field(ge=0, le=MOST_BLOCKS)] = 0


class _Position(Schema):
    block: Count
    frames: Count


class _Order(Schema):
    format: str
    settings: StoredSettings
    prompt: Words
    negative_prompt: Words
    temporal_factor: Annotated[int, Field(ge=1, le=64)]
    guard: Name
    changes: list[_Change]
    history_frames: Count
    position: _Position
    gateway: dict[str, Any] | None


def order_to_json(order: StreamOrder) -> bytes:
    """An order as JSON that `order_from_json` reads."""
    return json.dumps({"format": FORMAT} | asdict(order), ensure_ascii=False).encode()


def order_from_json(data: bytes, where: str) -> StreamOrder:
    """The order that `order_to_json` wrote.

    Raises:
        StoreError: it is damaged, or of another version; names `where` it was found.
    """
    try:
        stored = _Order.model_validate(parse_json(data, LIMIT))
        if stored.format != FORMAT:
            raise ValueError(f"format {safe_text(stored.format, 40)}; this program reads {FORMAT}")
        return _order(stored)
    except (ValidationError, ValueError, ConfigError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else error
        raise StoreError(f"{safe_text(where)} cannot be read ({reason})") from error


def _order(stored: _Order) -> StreamOrder:
    values = stored.settings.model_dump()
    parse_memory_policy(values["memory"])
    values["timesteps"] = tuple(values["timesteps"])
    if (after := values["after_cut"]) is not None:
        values["after_cut"] = (after[0], tuple(after[1]))
    changes = [StreamChange(**change.model_dump()) for change in stored.changes]
    if [c.block for c in changes] != sorted({c.block for c in changes}):
        raise ValueError("changes: their blocks do not ascend")
    return StreamOrder(
        settings=SessionSettings(**values),
        prompt=stored.prompt,
        negative_prompt=stored.negative_prompt,
        temporal_factor=stored.temporal_factor,
        guard=stored.guard,
        changes=tuple(changes),
        history_frames=stored.history_frames,
        position=StreamPosition(**stored.position.model_dump()),
        gateway=stored.gateway,
    )
