"""Small replacements of three dependencies, for machines where nothing can be installed.

They do what measuring random weights needs and no more: `einops.rearrange`, `psutil`'s memory and
cores, and `pydantic` without any validation, for which reason files are not read with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from inspect import get_annotations
from math import prod
from types import ModuleType, SimpleNamespace
from typing import Any


def rearrange(x: Any, pattern: str, **sizes: int) -> Any:
    """`einops.rearrange` of a tensor: reshape, permute, reshape, so strides are those of einops."""
    left, right = (_groups(side) for side in pattern.split("->"))
    for group, size in zip(left, x.shape, strict=True):
        known = prod(sizes[name] for name in group if name in sizes)
        for name in group:
            sizes.setdefault(name, size // known)
    names = [name for group in left for name in group]
    order = [names.index(name) for group in right for name in group]
    x = x.reshape([sizes[name] for name in names]).permute(order)
    return x.reshape([prod(sizes[name] for name in group) for group in right])


def _groups(side: str) -> list[list[str]]:
    parts = re.findall(r"\(([^)]*)\)|(\w+)", side)
    return [several.split() if several else [one] for several, one in parts]


def _einops() -> ModuleType:
    return _module("einops", rearrange=rearrange)


def _psutil() -> ModuleType:
    return _module("psutil", virtual_memory=_memory, cpu_count=_cores, Process=_Process)


def _memory() -> SimpleNamespace:
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = (page * os.sysconf(f"SC_{kind}_PAGES") for kind in ("PHYS", "AVPHYS"))
    return SimpleNamespace(total=total, available=free)


def _cores(logical: bool = True) -> int | None:
    return os.cpu_count() if logical else None  # callers have a fallback for None


class _Process:
    def memory_info(self) -> SimpleNamespace:
        with open("/proc/self/statm", encoding="ascii") as values:
            pages = int(values.read().split()[1])
        return SimpleNamespace(rss=pages * os.sysconf("SC_PAGE_SIZE"))


class _Model:
    """`pydantic.BaseModel` that takes every value as it is."""

    model_fields: Mapping[str, Any] = {}
    model_fields_set: set[str]

    def __init_subclass__(cls) -> None:
        cls.model_fields = {**cls.model_fields, **dict.fromkeys(get_annotations(cls))}

    @classmethod
    def model_validate(cls, values: Mapping[str, Any]) -> _Model:
        model = cls()
        model.model_fields_set = set(values) & set(cls.model_fields)
        for name in model.model_fields_set:
            setattr(model, name, values[name])
        return model


def _field(default: Any = None, **bounds: Any) -> Any:
    return default


def _pydantic() -> ModuleType:
    return _module(
        "pydantic", BaseModel=_Model, ConfigDict=dict, Field=_field, ValidationError=ValueError
    )


def _module(name: str, **content: Any) -> ModuleType:
    module = module_from_spec(ModuleSpec(name, None))
    vars(module).update(content)
    return module


STAND_INS: Mapping[str, Callable[[], ModuleType]] = {
    "einops": _einops,
    "psutil": _psutil,
    "pydantic": _pydantic,
}
