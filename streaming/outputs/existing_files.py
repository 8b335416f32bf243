"""Checks of files that exist before a run; nothing is changed before they pass."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.run_id import read_run


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse a file that exists, unless it may be replaced and can be written.

    Raises:
        InvalidOutputError: it exists without `overwrite`, is not a regular file, or cannot be
            written.
    """
    if not os.path.lexists(path):
        return
    if not path.exists():
        raise InvalidOutputError(f"{safe_text(path)}: is a link to a file that does not exist")
    if not overwrite:
        raise InvalidOutputError(
            f"{safe_text(path)} exists; choose another name or set overwrite=True"
        )
    _check_writable(path)


def check_companion(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file next to an output that this program has not written.

    Raises:
        InvalidOutputError: as `check_new`, and for a file that this program has not written.
    """
    check_new(path, overwrite)
    if path.exists() and read_run(path) is None:
        raise InvalidOutputError(
            f"{safe_text(path)} exists and was not written by sana-stream, so it is not replaced:"
            " move it or choose another name"
        )


def check_own(path: Path, run: str | None) -> None:
    """Refuse to continue a file that another run has written.

    Args:
        path: a file that the run has written.
        run: the id of the run; None for a run of a version that wrote none.

    Raises:
        InvalidOutputError: it does not exist, is not a regular file, cannot be written, or has
            another id.
    """
    if not path.exists():
        raise InvalidOutputError(f"{safe_text(path)}: cannot be resumed: no such file or directory")
    _check_writable(path)
    if read_run(path) != run:
        raise InvalidOutputError(
            f"{safe_text(path)}: cannot be resumed: another run has written it; put the file of"
            " this checkpoint in its place"
        )


def make_folder(folder: Path) -> bool:
    """Create a folder that does not exist; returns whether it was created.

    Raises:
        InvalidOutputError: it cannot be created.
    """
    try:
        if folder.is_dir():
            return False
        folder.mkdir()
    except OSError as error:
        raise InvalidOutputError(
            f"{safe_text(folder)}: cannot be written: {os_reason(error)}"
        ) from error
    return True


def may_write(path: Path) -> bool:
    """Whether this process may write a file, or create files in a folder."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _check_writable(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        what = "a folder" if path.is_dir() else "not a regular file"
        raise InvalidOutputError(f"{safe_text(path)}: cannot be written: it is {what}")
    if not may_write(path):
        raise InvalidOutputError(f"{safe_text(path)}: cannot be written: permission denied")
