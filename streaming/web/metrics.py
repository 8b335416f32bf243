"""What a server counts: blocks, frames, seconds of each stage, bytes, errors and requests."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, Info
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

import sana_stream
from sana_stream.errors import SanaStreamError

from .registry import ActiveStream

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_PREFIX = "sana_stream"
_BLOCK_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
STAGES = ("text", "commit", "denoise", "decode")  # of `BlockStats`


class ServerMetrics:
    """The counters of one server, in a registry of their own.

    No label names a stream, so that nothing grows with the number of streams. Methods may be called
    from any thread.

    Attributes:
        registry: the metrics, as `prometheus_client` writes them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        build = Info(f"{_PREFIX}_build", "The version of the server.", registry=self.registry)
        build.info({"version": sana_stream.__version__})
        self._streams = self._counter("streams_started", "Streams that began.")
        self._blocks = self._counter("blocks", "Blocks that were generated.")
        self._frames = self._counter("frames", "Frames that were generated.")
        self._video = self._counter("video_seconds", "Seconds of video that were generated.")
        self._stages = self._counter(
            "stage_seconds",
            "Seconds spent in each stage: text, commit, denoise, decode; encode for the page, and "
            "record to a file, which run at the same time as the others.",
            "stage",
        )
        self._block_seconds = Histogram(
            f"{_PREFIX}_block_seconds",
            "Seconds from the text encoder to the decoded frames of a block.",
            buckets=_BLOCK_SECONDS,
            registry=self.registry,
        )
        self._misses = self._counter(
            "deadline_misses", "Blocks that were late: everything before them had been played."
        )
        self._recorded = self._counter("recorded_bytes", "Bytes that were added to recordings.")
        self._errors = self._counter("errors", "Streams that failed, by class of error.", "kind")
        self.requests = self._counter(
            "http_requests",
            "Requests by method, route and status.",
            *("method", "route", "status"),
        )
        self.sent = self._counter("sent_bytes", "Bytes of responses that were sent.", "route")
        for stage in (*STAGES, "encode", "record"):
            self._stages.labels(stage)

    def follow(self, stream: ActiveStream) -> None:
        """Count a stream that begins, and what it makes."""
        self._streams.inc()
        stream.status.observer = _StreamCounts(self, stream)

    def on_error(self, error: BaseException) -> None:
        """Count a stream that failed."""
        self._errors.labels(error_kind(error)).inc()

    def on_block(self, block: Block, seconds: float) -> None:
        """Count a block of `seconds` seconds of video."""
        stats = block.stats
        self._blocks.inc()
        self._frames.inc(len(block.frames))
        self._video.inc(seconds)
        self._block_seconds.observe(stats.total_seconds)
        for stage in STAGES:
            self.on_stage(stage, getattr(stats, f"{stage}_seconds"))

    def on_stage(self, stage: str, seconds: float) -> None:
        """Count seconds that were spent in a stage."""
        self._stages.labels(stage).inc(seconds)

    def on_late(self) -> None:
        """Count a block that was late."""
        self._misses.inc()

    def on_recorded(self, count: int) -> None:
        """Count bytes that were added to a recording."""
        self._recorded.inc(count)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)


class _StreamCounts:
    """Counts what one stream makes, as its status reports it."""

    def __init__(self, metrics: ServerMetrics, stream: ActiveStream) -> None:
        self._metrics = metrics
        self._recording = stream.recording
        self._size = self._recorded()
        self.on_late = metrics.on_late
        self.on_stage = metrics.on_stage

    def on_block(self, block: Block, seconds: float) -> None:
        """Count a block, and the growth of the recording."""
        self._metrics.on_block(block, seconds)
        self._measure()

    def on_finish(self) -> None:
        """Count the end of the recording."""
        self._measure()

    def _measure(self) -> None:
        size = self._recorded()
        self._metrics.on_recorded(max(0, size - self._size))
        self._size = max(size, self._size)

    def _recorded(self) -> int:
        with suppress(OSError):  # not there yet, or removed
            return 0 if self._recording is None else self._recording.stat().st_size
        return 0


def error_kind(error: BaseException) -> str:
    """The class of an error, of a small set: one of this library, or what kind of error it is."""
    kinds = (SanaStreamError, MemoryError, OSError, RuntimeError, ValueError)
    if isinstance(error, SanaStreamError):
        return type(error).__name__
    return next((kind.__name__ for kind in kinds if isinstance(error, kind)), "Exception")
