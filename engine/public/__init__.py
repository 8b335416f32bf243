"""Minutes-long AI video as a stream: SANA-Video block by block, in fixed memory.

from sana_stream import Engine

engine = Engine.load("pocket")
for block in engine.session("a red boat at dusk"):
    ...  # block.frames: uint8 (T, H, W, 3)
"""

from sana_stream.engine.block import Block, BlockStats
from sana_stream.engine.engine import Engine
from sana_stream.engine.session import Session
from sana_stream.engine.snapshot import Snapshot
from sana_stream.models.errors import CheckpointError, ConfigError, SanaStreamError

__version__ = "0.1.0"

__all__ = [
    "Block",
    "BlockStats",
    "CheckpointError",
    "ConfigError",
    "Engine",
    "SanaStreamError",
    "Session",
    "Snapshot",
    "__version__",
]
