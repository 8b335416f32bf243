"""Minutes-long AI video as a stream: SANA-Video block by block, in fixed memory.

from sana_stream import Engine

engine = Engine.load("pocket")
for block in engine.session("a red boat at dusk"):
    ...  # block.frames: uint8 (T, H, W, 3)

`render` makes a whole video from a story; `Run` does so block by block, and can be controlled.
"""

from typing import TYPE_CHECKING

from sana_stream._lazy import lazy_exports

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockStats
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.parallel.engine import ParallelEngine
    from sana_stream.engine.session.session import Session
    from sana_stream.engine.snapshot.snapshot import Snapshot
    from sana_stream.errors import (
        BranchError,
        CheckpointError,
        CommandError,
        ConfigError,
        HealthError,
        InvalidOutputError,
        JobError,
        OutputCancelled,
        OutputError,
        ParallelError,
        QueueFullError,
        ReaderDisconnected,
        SanaStreamError,
        SnapshotError,
        StoreError,
        StoryError,
    )
    from sana_stream.streaming.run.config import RunConfig
    from sana_stream.streaming.run.progress import Progress
    from sana_stream.streaming.run.render import render
    from sana_stream.streaming.run.runner import Run

__version__ = "0.1.0"

__all__ = [
    "Block",
    "BlockStats",
    "BranchError",
    "CheckpointError",
    "CommandError",
    "ConfigError",
    "Engine",
    "HealthError",
    "InvalidOutputError",
    "JobError",
    "OutputCancelled",
    "OutputError",
    "ParallelEngine",
    "ParallelError",
    "Progress",
    "QueueFullError",
    "ReaderDisconnected",
    "Run",
    "RunConfig",
    "SanaStreamError",
    "Session",
    "Snapshot",
    "SnapshotError",
    "StoreError",
    "StoryError",
    "__version__",
    "render",
]

_HOMES = {
    "Block": "sana_stream.engine.block",
    "BlockStats": "sana_stream.engine.block",
    "CheckpointError": "sana_stream.errors",
    "CommandError": "sana_stream.errors",
    "ConfigError": "sana_stream.errors",
    "Engine": "sana_stream.engine.engine",
    "HealthError": "sana_stream.errors",
    "InvalidOutputError": "sana_stream.errors",
    "BranchError": "sana_stream.errors",
    "JobError": "sana_stream.errors",
    "OutputCancelled": "sana_stream.errors",
    "OutputError": "sana_stream.errors",
    "ParallelEngine": "sana_stream.engine.parallel.engine",
    "ParallelError": "sana_stream.errors",
    "Progress": "sana_stream.streaming.run.progress",
    "QueueFullError": "sana_stream.errors",
    "ReaderDisconnected": "sana_stream.errors",
    "Run": "sana_stream.streaming.run.runner",
    "RunConfig": "sana_stream.streaming.run.config",
    "SanaStreamError": "sana_stream.errors",
    "Session": "sana_stream.engine.session.session",
    "Snapshot": "sana_stream.engine.snapshot.snapshot",
    "SnapshotError": "sana_stream.errors",
    "StoreError": "sana_stream.errors",
    "StoryError": "sana_stream.errors",
    "render": "sana_stream.streaming.run.render",
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
