"""The block engine: load a model, generate a stream block by block, save and resume it."""

from typing import TYPE_CHECKING

from sana_stream._lazy import lazy_exports

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockStats
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.loading.inspect import inspect_model
    from sana_stream.engine.session.session import Session
    from sana_stream.engine.snapshot.snapshot import Snapshot
    from sana_stream.engine.story.read import read_story
    from sana_stream.engine.story.story import Story
    from sana_stream.engine.story.timeline import Timeline

__all__ = [
    "Block",
    "BlockStats",
    "Engine",
    "Session",
    "Snapshot",
    "Story",
    "Timeline",
    "inspect_model",
    "read_story",
]

_HOMES = {
    "Block": "sana_stream.engine.block",
    "BlockStats": "sana_stream.engine.block",
    "Engine": "sana_stream.engine.engine",
    "Session": "sana_stream.engine.session.session",
    "Snapshot": "sana_stream.engine.snapshot.snapshot",
    "Story": "sana_stream.engine.story.story",
    "Timeline": "sana_stream.engine.story.timeline",
    "inspect_model": "sana_stream.engine.loading.inspect",
    "read_story": "sana_stream.engine.story.read",
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
