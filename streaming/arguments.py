"""The checks of what a caller passes to an output."""

from __future__ import annotations

from sana_stream._arguments import Arguments

from .errors import InvalidOutputError

ARGUMENTS = Arguments(InvalidOutputError)
