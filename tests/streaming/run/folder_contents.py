"""Read a folder's content, to check that a command has changed none of it."""

from __future__ import annotations

from pathlib import Path

OUTPUTS = ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.ts", "a.y4m", "a/%03d.png", "a/live.m3u8"]
FOREIGN = b"a foreign file"


def files(folder: Path = Path()) -> dict[str, bytes]:
    """Return the content of every file in a folder and its subfolders, by path."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
