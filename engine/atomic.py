"""Replacing a file as a whole: whatever happens, the old one or the new one is there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sana_stream._files import open_partial, partial_path


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file beside `path`, bring it to the disk, then give it the name.

    The name of the partial file is always the same, so that a killed process leaves one at most,
    which the next write replaces. Raises OSError; `path` is untouched then and the partial file
    is gone.
    """
    partial = partial_path(path)
    try:
        with open_partial(path) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until what was written to a file is on the disk, whoever wrote it."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system has an order for it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
