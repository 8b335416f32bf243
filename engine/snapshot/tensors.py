"""Conversion of a snapshot to named tensors and JSON values, and back.

The names of tensors and keys are those of checkpoint files and do not change.
"""

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
from sana_stream.models.vae.streaming import VAECache

from .snapshot import DriftReference, RecoveryPoint, Snapshot

CACHE = "cache."
GOOD = "good."  # prefix of a separate recovery point
_CACHES = (CACHE, GOOD + CACHE)


def recovery_to_tensors(point: RecoveryPoint, prefix: str = "") -> dict[str, Tensor]:
    """The latents and, where there is one, the decoder's cache, by name."""
    tensors = {f"{prefix}recent.{n}": latents for n, latents in enumerate(point.recent)}
    if point.cache is not None:
        tensors |= {
            f"{prefix}{CACHE}{n}.{''.join(map(str, order))}": tensor.permute(order)
            for n, (tensor, order) in enumerate((t, _order(t)) for t in point.cache.tails)
        }
    return tensors


def recovery_from_tensors(
    tensors: Mapping[str, Tensor], device: torch.device, prefix: str = ""
) -> RecoveryPoint:
    """The recovery point whose `recovery_to_tensors` these are, on a device.

    Raises:
        KeyError: a tensor is missing.
        ValueError: a name does not fit its tensor.
    """
    count = sum(name.startswith(f"{prefix}recent.") for name in tensors)
    recent = tuple(tensors[f"{prefix}recent.{n}"].to(device) for n in range(count))
    tails = tuple(tensor.to(device) for tensor in _cached(tensors, prefix + CACHE))
    return RecoveryPoint(recent, VAECache(tails) if tails else None)


def separate_recovery(snapshot: Snapshot) -> RecoveryPoint | None:
    """The guard's recovery point, where it is not the stream's own last blocks."""
    point = None if snapshot.drift_reference is None else snapshot.drift_reference.recovery
    return None if point is None or point.recent is snapshot.recent_latents else point


def describe_drift(snapshot: Snapshot) -> dict[str, Any] | None:
    """The drift reference without its tensors, as JSON values."""
    if (drift := snapshot.drift_reference) is None:
        return None
    return {
        "prompt": drift.prompt,
        "look": drift.reference.values,
        "blocks": drift.blocks,
        "quiet": drift.cooldown,
        "good": drift.recovery is not None,
        "negative": drift.negative,
        "seed": drift.seed,
        "index": drift.index,
        "last": None if drift.last is None else drift.last.values,
        "settling": drift.settling,
        "longer": drift.longer,
    }


def drift_from(
    described: dict[str, Any] | None, stream: RecoveryPoint, separate: RecoveryPoint
) -> DriftReference | None:
    """The drift reference that `describe_drift` described.

    Args:
        described: what `describe_drift` gave.
        stream: the recovery point of the stream itself.
        separate: the guard's own; without latents it is the stream's.

    Raises:
        KeyError, TypeError: not what `describe_drift` returns.
    """
    if described is None:
        return None
    point = (separate if separate.recent else stream) if described["good"] else None
    look, last = FrameStats(*described["look"]), described.get("last")
    return DriftReference(
        described["prompt"],
        look,
        described["blocks"],
        described["quiet"],
        point,
        negative=described.get("negative", ""),  # earlier files have none of these
        seed=described.get("seed", 0),
        index=described.get("index", -1),
        last=None if last is None else FrameStats(*last),
        settling=described.get("settling", 0),
        longer=described.get("longer", 0),
    )


def _order(tensor: Tensor) -> list[int]:
    """The axes in memory order, which is kept in the tensor's name.

    Convolutions choose their algorithm by it, so another order could change the last bit of a
    frame.
    """
    return sorted(range(tensor.ndim), key=tensor.stride, reverse=True)


def _cached(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[Tensor]:
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
    """The snapshot's tensors by name, on the CPU and contiguous.

    Empty slots are left out.
    """
    tensors: dict[str, Tensor] = {}
    for number, state in enumerate(snapshot.states):
        if state.position:
            tensors[f"state.{number}.tail"] = state.conv_state
        for place, slot in enumerate(state.memory.slots):
            if slot.frames:
                tensors[f"state.{number}.slot.{place}.S"] = slot.sums.S
                tensors[f"state.{number}.slot.{place}.z"] = slot.sums.z
    tensors |= recovery_to_tensors(snapshot.recovery_point)
    if (point := separate_recovery(snapshot)) is not None:
        separate = recovery_to_tensors(point, GOOD)  # may share latents with the stream
        tensors |= {name: tensor.clone() for name, tensor in separate.items()}
    if snapshot.fixed_latents is not None:
        tensors["given"] = snapshot.fixed_latents
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def describe_states(states: tuple[StreamState, ...]) -> list[Described]:
    """The position of each state, and the start and length of its slots, in latent frames."""
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
        beginning: the stream's `initial_snapshot`, whose device, dtypes and shapes are used;
            all but states and latents is taken from it.
        described: what `describe_states` gave.
        tensors: on any device.

    Raises:
        KeyError, ValueError: a tensor or a number is missing, or does not fit the stream.
    """
    pairs = zip(beginning.states, described, strict=True)
    states = tuple(_state(n, empty, known, tensors) for n, (empty, known) in enumerate(pairs))
    device = beginning.states[0].conv_state.device
    point = recovery_from_tensors(tensors, device)
    fixed = tensors["given"].to(device) if "given" in tensors else None
    return replace(
        beginning,
        states=states,
        recent_latents=point.recent,
        cache=point.cache,
        fixed_latents=fixed,
    )


def without_cache(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the decoder's caches, for a model of another dtype."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_CACHES)}


def cache_dtypes(tensors: Mapping[str, Tensor]) -> set[torch.dtype]:
    """The dtypes of the decoder's caches."""
    return {tensor.dtype for name, tensor in tensors.items() if name.startswith(_CACHES)}


def map_tensors(snapshot: Snapshot, change: Callable[[Tensor], Tensor]) -> Snapshot:
    """The snapshot with a function applied to every tensor; without the decoder's cache."""
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
    fixed = None if snapshot.fixed_latents is None else change(snapshot.fixed_latents)
    return replace(snapshot, states=states, recent_latents=recent, fixed_latents=fixed, cache=None)


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
    conv_state = _fitting(f"state.{number}.tail", empty.conv_state, tensors)
    memory = BlockMemory(empty.memory.policy, slots)
    return StreamState(memory, conv_state, int(known["position"]))


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
