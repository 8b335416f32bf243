"""Stand-in for transformers.utils."""

from __future__ import annotations


class logging:  # noqa: N801 - a module of transformers
    @staticmethod
    def disable_progress_bar() -> None: ...

    @staticmethod
    def set_verbosity_error() -> None: ...
