"""The errors that the library raises on purpose, in one tree.

Each message is one line: what was given, what is allowed, what to do.
"""

from __future__ import annotations

from ._text import safe_text

LONGEST_MESSAGE = 1000  # characters


class SanaStreamError(Exception):
    """Base of every error of this library.

    Text that came from files, callers or servers is made safe for a terminal.
    """

    def __str__(self) -> str:
        return safe_text(super().__str__(), LONGEST_MESSAGE)


class ConfigError(SanaStreamError, ValueError):
    """A setting that cannot be used: what was given and what is allowed."""


class StoryError(ConfigError):
    """A story that cannot be read or does not fit the video: file, line and what is allowed."""


class UnknownClipError(ConfigError):
    """A file that is not recognized as a video."""


class CheckpointError(SanaStreamError):
    """A model checkpoint that cannot be loaded: a missing part, a wrong shape, an unknown key."""


class SnapshotError(SanaStreamError):
    """A checkpoint of a stream that cannot be written or resumed: which one, and why."""


class StoreError(SanaStreamError):
    """A store of a fleet that cannot be read or written: which one, and why."""


class HealthError(SanaStreamError):
    """A stream that cannot continue: values that are not finite, or no memory left."""


class ParallelError(SanaStreamError):
    """A process of a stream on several devices has ended or failed: which one, and why."""


class InvalidOutputError(SanaStreamError, ValueError):
    """An output that cannot be opened as requested: what was given and what is allowed."""


class OutputError(SanaStreamError, OSError):
    """An output that failed: which one, why, and how much of the video is safe."""


class ReaderDisconnected(OutputError):  # noqa: N818 - an end, not a fault
    """The reader of an output has closed the connection."""


class OutputCancelled(OutputError):  # noqa: N818 - an end, not a fault
    """The run was stopped while the output waited for a reader that accepts no data."""


class CommandError(SanaStreamError, ValueError):
    """A line that is not a command: what was given and which commands exist."""


class JobError(SanaStreamError, ValueError):
    """A job that a server cannot run: what was given and what is allowed.

    `field` names what is wrong in the request; None: nothing in particular.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BranchError(JobError):
    """A stream that cannot be branched at the moment that was asked for."""


class QueueFullError(JobError):
    """Too many jobs are queued."""
