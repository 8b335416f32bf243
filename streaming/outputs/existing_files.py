"""What may be done with files that are there before a run: nothing before these checks pass."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.run_id import read_run


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse a file that is there, unless it may be replaced and can be written.

    Raises:
        InvalidOutputError: it is there, is not a regular file, or may not be written.
    """
    if not os.path.lexists(path):
        return
    if not path.exists():
        raise InvalidOutputError(f"{safe_text(path)}: is a link to a file that does not exist")
    if not overwrite:
        raise InvalidOutputError(
            f"{safe_text(path)} exists; choose another name or add --overwrite"
        )
    _check_writable(path)


def check_companion(path: Path, overwrite: bool) -> None:
    """Refuse a file that is written beside the one that was named: only our own is replaced.

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
        InvalidOutputError: it is not there, is not a regular file, may not be written, or bears
        another
            id.
    """
    if not path.exists():
        raise InvalidOutputError(f"{safe_text(path)}: cannot be resumed: no such file or directory")
    _check_writable(path)
    if read_run(path) != run:
        raise InvalidOutputError(
            f"{safe_text(path)}: cannot be resumed: another run has written it than the one of"
            " this checkpoint; put the right file in its place"
        )


def make_folder(folder: Path) -> bool:
    """Make a folder that is not there; whether it was made. InvalidOutputError where it cannot
    be."""
    try:
        if folder.is_dir():
            return False
        folder.mkdir()
    except OSError as error:
        raise InvalidOutputError(
            f"{safe_text(folder)}: cannot be written: {(error.strerror or str(error)).lower()}"
        ) from error
    return True


def may_write(path: Path) -> bool:
    """Whether this process has the right to write a file, or to make files in a folder."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _check_writable(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        what = "a folder" if path.is_dir() else "not a regular file"
        raise InvalidOutputError(f"{safe_text(path)}: cannot be written: it is {what}")
    if not may_write(path):
        raise InvalidOutputError(f"{safe_text(path)}: cannot be written: permission denied")
