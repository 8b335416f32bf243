"""Everything in a folder, to see that a command has changed nothing of it."""

from __future__ import annotations

from pathlib import Path

OUTPUTS = ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.ts", "a.y4m", "a/%03d.png", "a/live.m3u8"]
FOREIGN = b"something of somebody's"


def files(folder: Path = Path()) -> dict[str, bytes]:
    """Everything in a folder and below, with its content."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
