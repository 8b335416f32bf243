"""Minutes-long AI video as a stream: SANA-Video block by block, in fixed memory.

from sana_stream import Engine

engine = Engine.load("pocket")
for block in engine.session("a red boat at dusk"):
    ...  # block.frames: uint8 (T, H, W, 3)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockStats
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.sampling.checks import HealthError
    from sana_stream.engine.session.session import Session
    from sana_stream.engine.snapshot.header import SnapshotError
    from sana_stream.engine.snapshot.snapshot import Snapshot
    from sana_stream.models.errors import CheckpointError, ConfigError, SanaStreamError

__version__ = "0.1.0"

__all__ = [
    "Block",
    "BlockStats",
    "CheckpointError",
    "ConfigError",
    "Engine",
    "HealthError",
    "SanaStreamError",
    "Session",
    "Snapshot",
    "SnapshotError",
    "__version__",
]

# Imported when first asked for: the command line answers mistakes before torch is loaded, and
# takes standard output for video before anything can print to it.
_HOMES = {
    "Block": "sana_stream.engine.block",
    "BlockStats": "sana_stream.engine.block",
    "CheckpointError": "sana_stream.models.errors",
    "ConfigError": "sana_stream.models.errors",
    "Engine": "sana_stream.engine.engine",
    "HealthError": "sana_stream.engine.sampling.checks",
    "SanaStreamError": "sana_stream.models.errors",
    "Session": "sana_stream.engine.session.session",
    "Snapshot": "sana_stream.engine.snapshot.snapshot",
    "SnapshotError": "sana_stream.engine.snapshot.header",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
