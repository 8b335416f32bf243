"""The errors that the library raises on purpose; each message says what to do."""


class SanaStreamError(Exception):
    """Base of every error of this library: one line that a person can act on."""


class ConfigError(SanaStreamError, ValueError):
    """A setting that cannot be used: what was given, what is allowed."""


class CheckpointError(SanaStreamError):
    """A checkpoint that cannot be loaded: a missing part, a wrong shape, an unknown key."""
