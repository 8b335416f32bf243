"""The space on a disk that is left to other programs."""

from __future__ import annotations

import shutil
from pathlib import Path

SPARE = 200 << 20  # bytes
SPARE_TEXT = f"{SPARE >> 20} MiB"


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder; raises OSError."""
    return shutil.disk_usage(folder).free


def is_full(folder: Path) -> bool:
    """Whether nothing more should be written to the disk of a folder; raises OSError."""
    return free_bytes(folder) < SPARE
