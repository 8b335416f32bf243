"""A snapshot as named tensors and plain numbers, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sana_stream.engine.frame_stats import FrameStats
from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import BlockMemory, MemorySlot
from sana_stream.models.state import StreamState
from sana_stream.models.vae.wan import VAECache

from .snapshot import DriftReference, RecoveryPoint, Snapshot

CACHE = "cache."
GOOD = "good."


def ending_to_tensors(ending: RecoveryPoint, prefix: str = "") -> dict[str, Tensor]:
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
) -> RecoveryPoint:
    """The ending whose `ending_to_tensors` these are, on a device; KeyError for a missing one."""
    count = sum(name.startswith(f"{prefix}recent.") for name in tensors)
    recent = tuple(tensors[f"{prefix}recent.{n}"].to(device) for n in range(count))
    tails = tuple(tail.to(device) for tail in _tails(tensors, prefix + CACHE))
    return RecoveryPoint(recent, VAECache(tails) if tails else None)


def own_good(snapshot: Snapshot) -> RecoveryPoint | None:
    """The ending to begin again from, where it is not that of the stream itself."""
    good = None if snapshot.drift_reference is None else snapshot.drift_reference.recovery
    return None if good is None or good.recent is snapshot.recent_latents else good


def describe_watch(snapshot: Snapshot) -> dict[str, Any] | None:
    """What a guard knows, but tensors."""
    if (watch := snapshot.drift_reference) is None:
        return None
    return {
        "prompt": watch.prompt,
        "look": watch.reference.values,
        "blocks": watch.blocks,
        "quiet": watch.cooldown,
        "good": watch.recovery is not None,
        "negative": watch.negative,
        "seed": watch.seed,
        "index": watch.index,
        "last": None if watch.last is None else watch.last.values,
        "settling": watch.settling,
        "longer": watch.longer,
    }


def watch_from(
    described: dict[str, Any] | None, stream: RecoveryPoint, good: RecoveryPoint
) -> DriftReference | None:
    """What `describe_watch` tells of a stream with this ending; `good` is empty if it is the same.

    Raises:
        KeyError, TypeError: not what `describe_watch` gives.
    """
    if described is None:
        return None
    kept = (good if good.recent else stream) if described["good"] else None
    look, last = FrameStats(*described["look"]), described.get("last")
    return DriftReference(
        described["prompt"],
        look,
        described["blocks"],
        described["quiet"],
        kept,
        negative=described.get("negative", ""),  # files of before know none of these
        seed=described.get("seed", 0),
        index=described.get("index", -1),
        last=None if last is None else FrameStats(*last),
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


Slots = list[list[int]]  # start and frames of each slot
Described = dict[str, Any]  # {"position": int, "slots": Slots}


def to_tensors(snapshot: Snapshot) -> dict[str, Tensor]:
    """What the snapshot holds, on the CPU and contiguous, without what is empty and what it leaves
    out to be light."""
    snapshot, tensors = snapshot.without_large_cache(), {}
    for number, state in enumerate(snapshot.states):
        if state.position:
            tensors[f"state.{number}.tail"] = state.conv_state
        for place, slot in enumerate(state.memory.slots):
            if slot.frames:
                tensors[f"state.{number}.slot.{place}.S"] = slot.sums.S
                tensors[f"state.{number}.slot.{place}.z"] = slot.sums.z
    tensors |= ending_to_tensors(snapshot.recovery_point)
    if (good := own_good(snapshot)) is not None:  # some of its latents may be the stream's own
        tensors |= {name: part.clone() for name, part in ending_to_tensors(good, GOOD).items()}
    if snapshot.fixed_latents is not None:
        tensors["given"] = snapshot.fixed_latents
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def describe_states(states: tuple[StreamState, ...]) -> list[Described]:
    """Where each state is and what its slots hold, in whole numbers."""
    return [
        {
            "position": state.position,
            "slots": [[slot.start, slot.frames] for slot in state.memory.slots],
        }
        for state in states
    ]


def from_tensors(
    beginning: Snapshot, described: list[Described], tensors: Mapping[str, Tensor]
) -> Snapshot:
    """The snapshot whose `to_tensors` these are.

    Args:
        beginning: the same stream before its first block, on the device and with the shapes that
            are wanted; everything but states and latents is taken from it.
        described: what `describe_states` gave.
        tensors: on any device.

    Raises:
        KeyError, ValueError: a tensor or a number is missing, or does not fit the stream.
    """
    pairs = zip(beginning.states, described, strict=True)
    states = tuple(_state(n, empty, known, tensors) for n, (empty, known) in enumerate(pairs))
    device = beginning.states[0].conv_state.device
    ending = ending_from_tensors(tensors, device)
    given = tensors["given"].to(device) if "given" in tensors else None
    return replace(
        beginning,
        states=states,
        recent_latents=ending.recent,
        cache=ending.cache,
        fixed_latents=given,
    )


def without_cache(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors but the decoder's caches, for an engine of another dtype."""
    caches = (CACHE, GOOD + CACHE)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(caches)}


def map_tensors(snapshot: Snapshot, change: Callable[[Tensor], Tensor]) -> Snapshot:
    """The snapshot with every tensor changed; the decoder's cache is left out."""
    states = tuple(
        StreamState(
            BlockMemory(
                state.memory.policy,
                tuple(
                    MemorySlot(
                        AttentionState(change(slot.sums.S), change(slot.sums.z)),
                        slot.start,
                        slot.frames,
                    )
                    for slot in state.memory.slots
                ),
            ),
            change(state.conv_state),
            state.position,
        )
        for state in snapshot.states
    )
    recent = tuple(change(latents) for latents in snapshot.recent_latents)
    given = None if snapshot.fixed_latents is None else change(snapshot.fixed_latents)
    return replace(snapshot, states=states, recent_latents=recent, fixed_latents=given, cache=None)


def _state(
    number: int, empty: StreamState, known: Described, tensors: Mapping[str, Tensor]
) -> StreamState:
    if not known["position"]:
        return empty
    slots = tuple(
        _slot(f"state.{number}.slot.{place}", slot, start, frames, tensors)
        for place, (slot, (start, frames)) in enumerate(
            zip(empty.memory.slots, known["slots"], strict=True)
        )
    )
    tail = _fitting(f"state.{number}.tail", empty.conv_state, tensors)
    return StreamState(BlockMemory(empty.memory.policy, slots), tail, int(known["position"]))


def _slot(
    name: str, empty: MemorySlot, start: int, frames: int, tensors: Mapping[str, Tensor]
) -> MemorySlot:
    if not frames:
        return empty
    S = _fitting(f"{name}.S", empty.sums.S, tensors)
    return MemorySlot(
        AttentionState(S, _fitting(f"{name}.z", empty.sums.z, tensors)), int(start), int(frames)
    )


def _fitting(name: str, like: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    tensor = tensors[name]
    if tensor.shape != like.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(like.shape)}")
    if not tensor.is_floating_point() or not torch.isfinite(tensor.float()).all():
        raise ValueError(f"{name} has other numbers than finite floating-point ones")
    return tensor.to(device=like.device, dtype=like.dtype)
