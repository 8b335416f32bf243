"""Speed and memory of an engine's streams, as records."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import torch

from measuring.package import is_missing
from measuring.records import emit, emit_error
from measuring.timing import Bench
from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session

PROMPT = "a red boat on the sea at sunset"
GIB = 1 << 30


class Meter:
    """Measures the streams of an engine.

    Args:
        engine: what is measured.
        warmup: blocks that do not count, after the first one of a stream.
        repeats: blocks that count, of each of both ways.
    """

    def __init__(self, engine: Engine, warmup: int, repeats: int) -> None:
        self._engine = engine
        self._warmup = warmup
        self._repeats = repeats

    def speed(self, name: str) -> None:
        """Measure first frames, stages, overlapped blocks, and the share of the peak speed."""
        cold, _ = self._timed(lambda: next(self._session(1)))
        emit("speed", name, cold=cold)
        stream = self._session(2)
        warm, _ = self._timed(lambda: next(stream))
        emit("speed", name, warm=warm)
        self.memory(f"{name}: first blocks")
        self._run(stream, self._warmup)
        blocks = list(islice(stream, self._repeats))
        self._emit_stages(name, blocks)
        self.memory(f"{name}: one stage after the other")
        alone = median(block.stats.total_seconds for block in blocks)
        overlapped = self._overlapped(stream)
        frames = len(blocks[0].frames)
        best = min(alone, overlapped)
        emit("speed", name, overlapped_ms=overlapped * 1e3, fps=frames / best)
        if peaks := self.memory(f"{name}: stages overlapped"):
            emit("speed", name, peak=peaks["reserved"])
        self._emit_encoding(name, stream, blocks)
        self._emit_share(name, stream, best)

    def pieces(self, name: str) -> None:
        """Measure the decoding of a block in pieces of 1, 2 and all latent frames."""
        engine, session = self._engine, self._session(1)
        next(session)
        next(session)
        snapshot, before = session.snapshot(), engine.decode_frames
        latents = session.sample(snapshot)
        try:
            for frames in (1, 2, latents.span.latent_frames):
                engine.decode_frames = frames
                decode = partial(engine.session_from(snapshot).decode, latents, snapshot)
                decode()
                self.memory()
                times = [self._timed(decode)[0] for _ in "ab"]
                row = {"ms": median(times) * 1e3, **self._peaks()}
                emit("decoding", f"{name}, {frames} latent frames", **row)
        finally:
            engine.decode_frames = before

    def memory(self, name: str = "") -> dict[str, float]:
        """The peaks in GiB since the last call, printed under a name; none on the CPU."""
        peaks = self._peaks()
        if name and peaks:
            emit("memory", name, **peaks)
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
        return peaks

    @property
    def _on_gpu(self) -> bool:
        return self._engine.device.type == "cuda"

    def _peaks(self) -> dict[str, float]:
        if not self._on_gpu:
            return {}
        allocated = torch.cuda.max_memory_allocated()
        return {"allocated": allocated / GIB, "reserved": torch.cuda.max_memory_reserved() / GIB}

    def _session(self, seed: int) -> Session:
        return self._engine.session(PROMPT, seed=seed)

    def _timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        begun = time.perf_counter()
        result = call()
        if self._on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - begun, result

    def _run(self, blocks: Any, count: int) -> None:
        for _ in islice(blocks, count):
            pass

    def _emit_stages(self, name: str, blocks: list[Block]) -> None:
        steps = len(self._session(1).snapshot().settings.timesteps)
        stages = [block.stats for block in blocks]
        emit(
            "speed",
            name,
            call_ms=median(s.denoise_seconds for s in stages) / steps * 1e3,
            commit_ms=median(s.commit_seconds for s in stages) * 1e3,
            decode_ms=median(s.decode_seconds for s in stages) * 1e3,
            block_ms=median(s.total_seconds for s in stages) * 1e3,
        )

    def _overlapped(self, stream: Session) -> float:
        """Mean seconds a block, the next one sampled while this one is decoded."""
        with closing(generate_ahead(stream)) as ahead:
            self._run(ahead, max(1, self._warmup - 1))
            seconds, _ = self._timed(lambda: self._run(ahead, self._repeats))
        return seconds / self._repeats

    def _emit_encoding(self, name: str, stream: Session, blocks: list[Block]) -> None:
        if is_missing("av"):
            return
        try:
            from sana_stream.streaming.containers.registry import create_muxer
            from sana_stream.streaming.video_format import StreamSpec, VideoFormat

            settings = stream.snapshot().settings
            video = VideoFormat(settings.width, settings.height, self._engine.preset.fps)
            muxer = create_muxer("mp4", StreamSpec(video))
            muxer.header()
            times = [self._timed(partial(muxer.add, block))[0] for block in blocks]
            emit("speed", name, encode_ms=median(times) * 1e3)
        except Exception as error:
            emit_error("memory", f"{name}: encoding", error)

    def _emit_share(self, name: str, stream: Session, seconds: float) -> None:
        """Print the time of the counted operations at the peak rate as a share of the block's."""
        from sana_stream.engine.performance.benchmark import session_cost

        engine, settings = self._engine, stream.snapshot().settings
        cost = session_cost(engine, settings)
        rate = Bench(engine.device, small=not self._on_gpu).matrix_rate(engine.dtype)
        emit("speed", name, share=100 * cost.flop / rate / seconds, tflop=cost.flop / 1e12)
