"""A stream's last pictures and what a guard knows of it, as named tensors and plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..models.vae import VaeCache
from .look import Look
from .snapshot import Snapshot
from .watch import Ending, Watch

CACHE = "cache."
GOOD = "good."


def ending_to_tensors(ending: Ending, prefix: str = "") -> dict[str, Tensor]:
    """Latents and, where there is one, the decoder's cache, by name."""
    tensors = {f"{prefix}recent.{n}": latents for n, latents in enumerate(ending.recent)}
    if ending.cache is not None:
        tensors |= {
            f"{prefix}{CACHE}{n}.{''.join(map(str, order))}": tail.permute(order)
            for n, (tail, order) in enumerate((t, _order(t)) for t in ending.cache.tails)
        }
    return tensors


def ending_from_tensors(
    tensors: Mapping[str, Tensor], device: torch.device, prefix: str = ""
) -> Ending:
    """The ending whose `ending_to_tensors` these are, on a device; KeyError for a missing one."""
    count = sum(name.startswith(f"{prefix}recent.") for name in tensors)
    recent = tuple(tensors[f"{prefix}recent.{n}"].to(device) for n in range(count))
    tails = tuple(tail.to(device) for tail in _tails(tensors, prefix + CACHE))
    return Ending(recent, VaeCache(tails) if tails else None)


def own_good(snapshot: Snapshot) -> Ending | None:
    """The ending to begin again from, where it is not that of the stream itself."""
    good = None if snapshot.watch is None else snapshot.watch.good
    return None if good is None or good.recent is snapshot.recent else good


def describe_watch(snapshot: Snapshot) -> dict[str, Any] | None:
    """What a guard knows, but tensors."""
    if (watch := snapshot.watch) is None:
        return None
    return {
        "prompt": watch.prompt,
        "look": watch.look.values,
        "blocks": watch.blocks,
        "quiet": watch.quiet,
        "good": watch.good is not None,
        "negative": watch.negative,
        "seed": watch.seed,
        "index": watch.index,
        "last": None if watch.last is None else watch.last.values,
        "settling": watch.settling,
        "longer": watch.longer,
    }


def watch_from(described: dict[str, Any] | None, stream: Ending, good: Ending) -> Watch | None:
    """What `describe_watch` tells of a stream with this ending; `good` is empty if it is the same.

    Raises:
        KeyError, TypeError: not what `describe_watch` gives.
    """
    if described is None:
        return None
    kept = (good if good.recent else stream) if described["good"] else None
    look, last = Look(*described["look"]), described.get("last")
    return Watch(
        described["prompt"],
        look,
        described["blocks"],
        described["quiet"],
        kept,
        negative=described.get("negative", ""),  # files of before know none of these
        seed=described.get("seed", 0),
        index=described.get("index", -1),
        last=None if last is None else Look(*last),
        settling=described.get("settling", 0),
        longer=described.get("longer", 0),
    )


def _order(tail: Tensor) -> list[int]:
    """The axes in the order of memory, which a tail's name keeps: convolutions choose their way
    by it, so that another order could change the last bit of a picture."""
    return sorted(range(tail.ndim), key=tail.stride, reverse=True)


def _tails(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[Tensor]:
    numbered = {}
    for name in tensors:
        if name.startswith(prefix):
            number, order = name.removeprefix(prefix).split(".")
            axes = [int(axis) for axis in order]
            if sorted(axes) != list(range(tensors[name].ndim)):
                raise ValueError(f"{name} has {tensors[name].ndim} axes")
            numbered[int(number)] = tensors[name], axes
    for _, (tensor, order) in sorted(numbered.items()):
        yield tensor.permute([order.index(axis) for axis in range(len(order))])
