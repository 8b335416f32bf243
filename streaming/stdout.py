"""Standard output, kept for video alone."""

from __future__ import annotations

import os
import sys

from .errors import TargetError


def claim_stdout() -> int:
    """Take standard output for video and give everybody else standard error in its place.

    Returns the descriptor to write video to. To be called once, before other modules are
    imported, so that nothing that a library prints gets between the pictures. Raises TargetError
    when standard output is a terminal, or closed.
    """
    if not _is_writable(1):
        raise TargetError(
            "standard output is closed, nobody would get the video; pipe it into a player "
            "(… --out - | ffplay -) or name a file"
        )
    if os.isatty(1):
        raise TargetError(
            "standard output is a terminal, which cannot show video; pipe it into a player "
            "(… --out - | ffplay -) or name a file"
        )
    video = os.dup(1)
    os.dup2(2, 1)
    return video


def _is_writable(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return mode != os.O_RDONLY
