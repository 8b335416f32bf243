"""Benchmark of an engine: stages, first frame, memory, and share of the machine's peak speed."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean, median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.memory_estimate import TEXT_TOKENS, meta_denoise
from sana_stream.engine.session.clips import check_streaming
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.snapshot import SessionSettings, Snapshot
from sana_stream.models.memory_policy import MemorySlot
from sana_stream.models.registry import VideoTransformerConfig
from sana_stream.models.state import StreamState
from sana_stream.models.vae.registry import VideoDecoderConfig, build_decoder


@dataclass(frozen=True, slots=True)
class BlockCost:
    """Floating-point operations of one block; a multiply-add counts as two."""

    denoise_flop: int  # one call of the transformer
    decode_flop: int  # a whole block that is not the first
    calls: int  # of the transformer: the steps, and the commit

    @property
    def flop(self) -> int:
        """Floating-point operations of the whole block."""
        return self.calls * self.denoise_flop + self.decode_flop


def block_cost(
    transformer: VideoTransformerConfig,
    decoder: VideoDecoderConfig,
    latent_frames: int,
    height: int,
    width: int,
    steps: int,
    text_tokens: int = TEXT_TOKENS,
) -> BlockCost:
    """Count the operations of a block.

    Args:
        transformer, decoder: the configurations of the networks.
        latent_frames: of the block.
        height, width: pixels.
        steps: denoising calls a block; the commit is counted as one more.
        text_tokens: length of the prompt in tokens.
    """
    factor = decoder.spatial_factor
    shape = (1, transformer.in_channels, latent_frames, height // factor, width // factor)
    denoise = _count(meta_denoise(transformer, torch.float32, shape, text_tokens))
    with torch.device("meta"):
        network, latents = build_decoder(decoder), torch.empty(shape)
    first = latents[:, :, :1]  # a stream's first latent frame decodes to one frame only
    longer = torch.cat((first, latents), dim=2)
    decode = _count(lambda: network.decode(longer)) - _count(lambda: network.decode(first))
    return BlockCost(denoise, decode, steps + 1)


def session_cost(engine: Engine, settings: SessionSettings) -> BlockCost:
    """Count the operations of a block of a session with the longest prompt."""
    return block_cost(
        engine.transformer.config,
        engine.decoder.config,
        settings.block_frames,
        settings.height,
        settings.width,
        len(settings.timesteps),
        engine.preset.max_text_tokens,
    )


def _count(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def shift_position(snapshot: Snapshot, blocks: int) -> Snapshot:
    """The snapshot as if `blocks` more blocks had been before its past.

    RoPE depends on distances only, so the next block is the same, given the same noise.
    """
    frames = blocks * snapshot.settings.block_frames
    states = tuple(_moved_state(state, frames) for state in snapshot.states)
    return replace(snapshot, next_index=snapshot.next_index + blocks, states=states)


def _moved_state(state: StreamState, frames: int) -> StreamState:
    slots = tuple(_moved_slot(slot, frames) for slot in state.memory.slots)
    memory = replace(state.memory, slots=slots)
    return replace(state, memory=memory, position=state.position + frames)


def _moved_slot(slot: MemorySlot, frames: int) -> MemorySlot:
    start = slot.start + frames
    return replace(slot, sums=slot.moved_to(start), start=start)


PROMPT = "a red boat on the sea at sunset"
FAR = (10, 1_000, 10_000)  # block numbers at which the speed is measured
FAR_ROUNDS = 2  # times the repeats, as the differences between these numbers are small
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the product that measures a device
MATRIX_SECONDS = 0.5
MATRIX_ROUNDS = 20  # on CUDA


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Results of a benchmark; times are medians in seconds, sizes are bytes."""

    machine: dict[str, str]
    width: int
    height: int
    pictures: int  # frames of a block
    steps: int
    first_picture: float  # from the request for the first block to its frames
    text: float
    denoise_call: float
    commit: float
    decode: float
    block: float  # one block after the other
    block_overlapped: float  # the next one sampled while this one is decoded
    at_block: dict[int, float]  # seconds a block, by block number
    memory: int
    peak_memory: int
    state: int
    cost: BlockCost
    flop_rate: float  # operations a second of a large matrix product on this machine

    @property
    def frames_a_second(self) -> float:
        """Frames a second of the faster of the two ways."""
        return self.pictures / min(self.block, self.block_overlapped)

    @property
    def share_of_floor(self) -> float:
        """The time of the counted operations at the peak rate, divided by the measured time."""
        return self.cost.flop / self.flop_rate / min(self.block, self.block_overlapped)


def run_benchmark(
    engine: Engine,
    *,
    repeats: int = 8,
    warmup: int = 2,
    height: int | None = None,
    width: int | None = None,
) -> BenchmarkResult:
    """Run an engine on one prompt and take medians.

    Args:
        engine: the loaded model.
        repeats: blocks measured with and without overlap.
        warmup: blocks before these that are not counted.
        height, width: pixels; default: the preset's.

    Raises:
        ConfigError: the model makes one clip at a time.
    """
    check_streaming(engine.preset, engine.transformer.config, "a benchmark")

    def session() -> Session:
        return engine.session(PROMPT, height=height, width=width)

    opening, first = _timed(lambda: next(session()))
    stream = session()
    _run(stream, 1 + warmup)
    blocks = list(islice(stream, repeats))
    settings = stream.snapshot().settings
    with closing(generate_ahead(stream)) as ahead:
        _run(ahead, warmup)
        overlap = [_timed(lambda: next(ahead))[0] for _ in range(repeats)]
    cost = session_cost(engine, settings)
    return BenchmarkResult(
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
        at_block=_seconds_at(engine, stream, repeats),
        memory=blocks[-1].stats.memory_bytes,
        peak_memory=blocks[-1].stats.peak_memory_bytes,
        state=blocks[-1].stats.state_bytes,
        cost=cost,
        flop_rate=matrix_rate(engine.device, engine.dtype),
    )


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """Device, threads, dtype and versions of a measurement."""
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
    """Operations a second of a large matrix product, a measure of the machine's peak speed."""
    size = MATRIX.get(device.type, MATRIX["cpu"])
    a = torch.randn(size, size, device=device).to(dtype)
    rounds, seconds = _repeat_on_cuda(a) if device.type == "cuda" else _repeat(a)
    return rounds * 2 * size**3 / seconds


def _repeat(a: Tensor) -> tuple[int, float]:
    """Multiply for `MATRIX_SECONDS`: the number of products, and seconds."""
    rounds, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < MATRIX_SECONDS or rounds < 3:
        torch.mm(a, a)
        _wait(a.device)
        rounds += 1
    return rounds, time.perf_counter() - begun


def _repeat_on_cuda(a: Tensor) -> tuple[int, float]:
    """Queue products and measure them between events, so that launching them does not count."""
    stream = torch.cuda.current_stream(a.device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        torch.mm(a, a)
    stream.record_event(begin)
    for _ in range(MATRIX_ROUNDS):
        torch.mm(a, a)
    stream.record_event(end)
    end.synchronize()
    return MATRIX_ROUNDS, begin.elapsed_time(end) / 1000


def _seconds_at(engine: Engine, stream: Session, repeats: int) -> dict[int, float]:
    """Seconds a block of the stream as if it were at each block number of `FAR`.

    Blocks at all numbers alternate, in rotating order, and are compared within their round: a
    machine whose speed drifts slows all of them alike.
    """
    here = stream.snapshot()
    streams = [engine.session_from(shift_position(here, i - here.next_index)) for i in FAR]
    for each in streams:
        _run(each, 1)
    rounds: list[list[float]] = []
    for number in range(FAR_ROUNDS * repeats):
        first = number % len(FAR)
        order = (*range(first, len(FAR)), *range(first))
        seconds = {place: next(streams[place]).stats.total_seconds for place in order}
        rounds.append([seconds[place] for place in range(len(FAR))])
    typical = median(fmean(seconds) for seconds in rounds)
    return {
        index: typical * median(seconds[place] / fmean(seconds) for seconds in rounds)
        for place, index in enumerate(FAR)
    }


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
    if device.type == "mps":
        torch.mps.synchronize()
