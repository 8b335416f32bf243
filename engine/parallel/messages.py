"""What the first process sends to the others: a snapshot to sample from, latents to decode."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sana_stream.engine.block import Shot
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.prompt_blend import PromptBlend
from sana_stream.engine.sampling.prompt_mixing import Embedded
from sana_stream.engine.snapshot.snapshot import SessionSettings, Snapshot, initial_snapshot
from sana_stream.engine.snapshot.tensors import describe_states, from_tensors, to_tensors

from .layout import Layout

KEPT = 3  # results of the last samplings that are kept on every process


@dataclass(frozen=True, slots=True)
class MakeGroups:
    """Make the process groups of a layout."""

    layout: Layout


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample the block after a snapshot.

    Tensors are sent only where the snapshot is not the result of one of the last samplings: at a
    stream's start, after a rewind, a cut or a resume.
    """

    number: int  # of the sampling
    layout: Layout
    settings: SessionSettings
    prompt: str
    negative_prompt: str
    blend: PromptBlend | None
    embeddings: bytes  # list of `Embedded`, of `prompts_of`; empty: those of the last sampling
    next_index: int
    shot: Shot
    base: int | None  # the sampling whose result the snapshot is
    states: list[dict[str, Any]]  # of `describe_states`, without a base
    tensors: bytes  # of `to_tensors`, without a base
    seed: int | None  # of the noise; None: each step's noise is sent


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode latents that follow as a tensor."""

    shape: tuple[int, ...]
    before: int | None  # the number of the cache to use, which is gone afterwards
    after: int  # the number for the new cache
    forget: tuple[int, ...]  # caches that nothing needs any more
    tails: bytes = b""  # a cache of another origin to use, such as a checkpoint's


@dataclass(frozen=True, slots=True)
class Decoded:
    """The answer to `Decode`; frames float32 follow as a tensor if there was enough memory."""

    shape: tuple[int, ...] = ()
    out_of_memory: bool = False


class SamplingHistory:
    """The results of the last samplings, by number; the same on every process."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Snapshot]] = []

    def add(self, number: int, after: Snapshot) -> None:
        """Keep a result; the oldest one is dropped."""
        self._kept = [*self._kept, (number, after)][-KEPT:]

    def number_of(self, snapshot: Snapshot) -> int | None:
        """The sampling that resulted in the states and latents of a snapshot."""
        if snapshot.fixed_latents is not None:
            return None
        for number, after in self._kept:
            if after.states is snapshot.states and after.uncommitted is snapshot.uncommitted:
                return number
        return None

    def result(self, number: int) -> Snapshot:
        """The snapshot after a sampling."""
        return next(after for kept, after in self._kept if kept == number)


def pack(tensors: Any) -> bytes:
    """Tensors in a tuple, list or dict as bytes."""
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def unpack(data: bytes) -> Any:
    """The tensors of `pack`, on the CPU."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def describe_sample(
    number: int,
    layout: Layout,
    snapshot: Snapshot,
    embeddings: Sequence[Embedded] | None,
    seed: int | None,
    history: SamplingHistory,
) -> Sample:
    """The message for the sampling after a snapshot.

    Args:
        embeddings: of the snapshot's prompts; None: they are those of the last sampling.
    """
    base = history.number_of(snapshot)
    tensors = b""
    if base is None:
        last = snapshot.recent_latents[-1:]
        needed = replace(snapshot, recent_latents=last, cache=None, drift_reference=None)
        tensors = pack(to_tensors(needed))
    return Sample(
        number,
        layout,
        snapshot.settings,
        snapshot.prompt,
        snapshot.negative_prompt,
        snapshot.blend,
        b"" if embeddings is None else pack(list(embeddings)),
        snapshot.next_index,
        snapshot.shot,
        base,
        describe_states(snapshot.states) if base is None else [],
        tensors,
        seed,
    )


def restore_sample(message: Sample, model: LoadedModel, history: SamplingHistory) -> Snapshot:
    """The snapshot of `describe_sample`, on the model's device; without what decoding needs."""
    prompts = message.prompt, message.negative_prompt
    snapshot = initial_snapshot(model, message.settings, *prompts)
    if message.base is None:
        tensors: dict[str, Tensor] = unpack(message.tensors)
        snapshot = from_tensors(snapshot, message.states, tensors)
    else:
        before = history.result(message.base)
        recent = before.recent_latents[-1:]
        snapshot = replace(snapshot, states=before.states, recent_latents=recent)
    position = {"next_index": message.next_index, "shot": message.shot}
    return replace(snapshot, blend=message.blend, **position)
