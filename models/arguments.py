"""The checks of what a caller passes to the models and the engine."""

from __future__ import annotations

from sana_stream._arguments import Arguments

from .errors import ConfigError

ARGUMENTS = Arguments(ConfigError)
