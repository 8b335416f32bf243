"""Sessions of published shapes on a fake CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch

from sana_stream.engine.engine import Engine
from sana_stream.engine.performance.random_model import SHAPES, ModelShapes, engine_of
from sana_stream.engine.session.block_generator import StageTimer
from sana_stream.models.vae.registry import build_vae

from .cuda import DEVICE, fake_cuda
from .trace import Operation, Record, Trace, Wait


@dataclass(frozen=True)
class BlockTrace:
    """What was recorded while one block was generated."""

    index: int
    frames: tuple[int, ...]  # shape
    record: Record

    @property
    def operations(self) -> list[Operation]:
        """All operations, in their order."""
        return self.record.operations

    @property
    def waits(self) -> list[Wait]:
        """The points at which the host waits for the device."""
        return self.record.waits

    def of(self, *stages: str) -> list[Operation]:
        """The operations of stages: "text", "commit", "denoise", "decode"."""
        return [operation for operation in self.operations if operation.stage in stages]


@dataclass(frozen=True)
class SessionTrace:
    """The blocks of a session, and the shapes of its model."""

    shapes: ModelShapes
    blocks: list[BlockTrace]

    @property
    def steady(self) -> BlockTrace:
        """The last block: those after it are the same."""
        return self.blocks[-1]


def published(name: str, layers: int | None = None) -> ModelShapes:
    """Published shapes, with fewer layers where given: each layer does the same."""
    shapes = SHAPES[name]
    if layers is None:
        return shapes
    return replace(shapes, transformer=replace(shapes.transformer, num_layers=layers))


def trace_session(
    shapes: ModelShapes,
    *,
    blocks: int = 3,
    dtype: str = "bfloat16",
    decoder: str | None = None,
    quantize: str | None = None,
    decode_frames: int | None = None,
    trace: Trace | None = None,
    **settings: Any,
) -> SessionTrace:
    """Generate blocks on a fake device and record every operation.

    Args:
        shapes: of the model, from `published`.
        blocks: how many; the first one differs from the later ones.
        dtype, decoder, quantize: as for `random_engine`.
        decode_frames: latent frames decoded at once; default: as the engine chooses.
        trace: records the operations; default: a new one.
        settings: of the session.
    """
    with torch.device("meta"):
        build_vae(shapes.vae)  # imports what cannot be imported below
    with fake_cuda(trace) as recorder, _stages(recorder):
        engine = engine_of(shapes, DEVICE, dtype, decoder=decoder)
        if quantize:
            engine.quantize(quantize, None)
        engine.decode_frames = decode_frames
        recorder.clear()
        recorder.record.held = recorder.record.peak = 0  # weights are not counted
        return SessionTrace(shapes, list(_generate(engine, recorder, blocks, settings)))


def _generate(
    engine: Engine, trace: Trace, blocks: int, settings: dict[str, Any]
) -> Iterator[BlockTrace]:
    session = engine.session("a red boat on the sea", **settings)
    for index in range(blocks):
        trace.clear()
        block = next(session)
        yield BlockTrace(index, block.frames.shape, replace(trace.record))


@contextmanager
def _stages(trace: Trace) -> Iterator[None]:
    """Name the stage of each operation."""
    real = StageTimer.stage

    @contextmanager
    def stage(timer: StageTimer, name: str) -> Iterator[None]:
        with real(timer, name):
            outer, trace.stage = trace.stage, name
            try:
                yield
            finally:
                trace.stage = outer

    with patch.object(StageTimer, "stage", stage):
        yield
