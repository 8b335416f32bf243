"""Lazy exports: names of a package that are imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Create the `__getattr__` and `__dir__` of a package that re-exports names of its modules.

    Importing a package must not load torch, because the command line reports usage errors first.

    Args:
        package: the package's `__name__`.
        homes: the module that defines each name, relative to the package (".session") or absolute.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name], package), name)

    def names() -> list[str]:
        return sorted(homes)

    return get, names
