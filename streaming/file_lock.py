"""An exclusive lock of the operating system on an open file; it ends with its process."""

from __future__ import annotations

import errno
import os
import sys

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The error numbers of a file system that has no locks."""

if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 30  # bytes; a locked byte cannot be read, so it lies behind all that is

    def lock_file(descriptor: int) -> None:
        """Lock a file, without waiting.

        Raises:
            BlockingIOError: another open file holds the lock.
            OSError: it cannot be locked.
        """
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EAGAIN, "the file is locked") from error

else:
    import fcntl

    def lock_file(descriptor: int) -> None:
        """Lock a file, without waiting.

        Raises:
            BlockingIOError: another open file holds the lock.
            OSError: it cannot be locked.
        """
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
