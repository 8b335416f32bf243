"""Measuring an engine: stages, first picture, memory, share of what the machine could do."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torch

from .block import Block
from .cost import BlockCost, block_cost
from .engine import Engine
from .move import moved
from .overlap import overlapped
from .session import Session

PROMPT = "a red boat on the sea at sunset"
FAR = (10, 1_000, 10_000)  # blocks between which a stream must not get slower
MATRIX = 2048  # rows and columns of the product that measures the machine
MATRIX_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; times are seconds and medians, sizes bytes."""

    machine: dict[str, str]
    width: int
    height: int
    pictures: int  # of a block
    steps: int
    first_picture: float  # from asking for the first block to its pictures
    text: float
    denoise_call: float
    commit: float
    decode: float
    block: float  # one block after the other
    block_overlapped: float  # the next one drafted while this one is decoded
    at_block: dict[int, float]  # seconds a block, far from the beginning too
    memory: int
    peak_memory: int
    state: int
    cost: BlockCost
    flop_rate: float  # operations a second of a large matrix product on this machine

    @property
    def frames_a_second(self) -> float:
        """Pictures a second of the faster of the two ways."""
        return self.pictures / min(self.block, self.block_overlapped)

    @property
    def share_of_floor(self) -> float:
        """The least time that the counted operations take here, divided by the time taken."""
        return self.cost.flop / self.flop_rate / min(self.block, self.block_overlapped)


def measure(
    engine: Engine,
    *,
    repeats: int = 8,
    warmup: int = 2,
    height: int | None = None,
    width: int | None = None,
) -> Figures:
    """Run an engine on one prompt and take medians.

    Args:
        repeats: blocks measured in each way.
        warmup: blocks before that are not counted.
        height, width: pixels, where not the preset's.
    """

    def session() -> Session:
        return engine.session(PROMPT, height=height, width=width)

    opening, first = _timed(lambda: next(session()))
    stream = session()
    _run(stream, 1 + warmup)
    blocks = list(islice(stream, repeats))
    settings = stream.snapshot().settings
    with closing(overlapped(stream)) as ahead:
        _run(ahead, warmup)
        overlap = [_timed(lambda: next(ahead))[0] for _ in range(repeats)]
    cost = block_cost(
        engine.transformer.config,
        engine.decoder.config,
        settings.block_frames,
        settings.height,
        settings.width,
        len(settings.timesteps),
        engine.preset.max_text_tokens,
        engine.dtype.itemsize,
    )
    return Figures(
        machine=machine(engine.device, engine.dtype),
        width=settings.width,
        height=settings.height,
        pictures=len(blocks[0].frames),
        steps=len(settings.timesteps),
        first_picture=opening,
        text=first.stats.text_seconds,
        denoise_call=_median(blocks, lambda b: b.stats.denoise_seconds) / len(settings.timesteps),
        commit=_median(blocks, lambda b: b.stats.commit_seconds),
        decode=_median(blocks, lambda b: b.stats.decode_seconds),
        block=_median(blocks, lambda b: b.stats.total_seconds),
        block_overlapped=median(overlap),
        at_block={index: _seconds_at(engine, stream, index, repeats) for index in FAR},
        memory=blocks[-1].stats.memory_bytes,
        peak_memory=blocks[-1].stats.peak_memory_bytes,
        state=blocks[-1].stats.state_bytes,
        cost=cost,
        flop_rate=matrix_rate(engine.device, engine.dtype),
    )


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """What a figure was measured on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        name = f"{platform.machine()} with {capability}, {os.cpu_count()} cores"
    return {
        "device": name,
        "threads": f"{torch.get_num_threads()} threads",
        "dtype": str(dtype).removeprefix("torch."),
        "torch": f"torch {torch.__version__}",
        "python": f"Python {platform.python_version()}",
        "system": platform.platform(terse=True),
    }


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a square matrix product: what the machine does at its best."""
    a = torch.randn(MATRIX, MATRIX, device=device).to(dtype)
    rounds, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < MATRIX_SECONDS or rounds < 3:
        torch.mm(a, a)
        _wait(device)
        rounds += 1
    return rounds * 2 * MATRIX**3 / (time.perf_counter() - begun)


def _seconds_at(engine: Engine, stream: Session, index: int, repeats: int) -> float:
    """Seconds a block of a stream with this one's past, `index` blocks from the beginning."""
    here = stream.snapshot()
    far = engine.session_from(moved(here, index - here.index))
    _run(far, 1)
    return _median(list(islice(far, repeats)), lambda b: b.stats.total_seconds)


def _run(blocks: Iterable[Block], count: int) -> None:
    for _ in islice(blocks, count):
        pass


def _median(blocks: list[Block], value: Callable[[Block], float]) -> float:
    return median(value(block) for block in blocks)


def _timed(call: Callable[[], Block]) -> tuple[float, Block]:
    begun = time.perf_counter()
    block = call()
    return time.perf_counter() - begun, block


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
