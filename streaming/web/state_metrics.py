"""The state of a server as metrics: streams by state, queue, viewers, memory, replicas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from sana_stream.streaming.control.job_queue import WAITING_LIMIT, JobQueue, JobState

from .fleet import FleetStatus
from .health import Readiness
from .registry import StreamRegistry

_STATES = ("queued", "starting", "running", "paused")
_ENDED = (JobState.FINISHED, JobState.CANCELLED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class StateCollector:
    """Reads the state of a server when its metrics are asked for."""

    streams: StreamRegistry
    ready: Readiness
    jobs: JobQueue | None = None
    fleet: FleetStatus | None = None

    def collect(self) -> Iterator[Metric]:
        """The metrics, as a collector of `prometheus_client` yields them."""
        yield _gauge("ready", "1 while a stream could be made, as /ready.", self.ready() is None)
        yield from self._streams()
        if self.jobs is not None:
            yield from _queue(self.jobs)
        if self.fleet is not None:
            yield from _replicas(self.fleet)

    def _streams(self) -> Iterator[Metric]:
        running = self.streams.running
        snapshots = [stream.status.snapshot() for stream in running]
        states = Counter(
            "paused" if stream.control.paused else snapshot.state
            for stream, snapshot in zip(running, snapshots, strict=True)
        )
        if self.jobs is not None:
            states["queued"] = self.jobs.waiting
        family = GaugeMetricFamily("sana_stream_streams", "Streams by state.", labels=["state"])
        for state in _STATES:
            family.add_metric([state], states[state])
        yield family
        viewers = sum(stream.feed.viewers for stream in self.streams.listed)
        yield _gauge("viewers", "Clients that are watching.", viewers)
        speeds = [snapshot.speed for snapshot in snapshots if snapshot.blocks]
        if speeds:
            yield _gauge(
                "slowest_speed_ratio",
                "Speed of the slowest running stream relative to real time, in its last blocks.",
                min(speeds),
            )
        memory = max((snapshot.memory_bytes for snapshot in snapshots), default=0)
        yield _gauge(
            "memory_bytes",
            "Memory at the end of the newest block, of the process (CPU) or allocated on the "
            "device (CUDA).",
            memory,
        )
        listed = [stream.status.snapshot() for stream in self.streams.listed]
        peak = max((snapshot.peak_memory_bytes for snapshot in listed), default=0)
        yield _gauge("peak_memory_bytes", "The highest value of the same measure.", peak)


def _queue(jobs: JobQueue) -> Iterator[Metric]:
    yield _gauge("queue_limit_streams", "The most streams that wait.", WAITING_LIMIT)
    ended = CounterMetricFamily(
        "sana_stream_streams_ended", "Streams that ended, by state.", labels=["state"]
    )
    for state in _ENDED:
        ended.add_metric([state], jobs.ended[state])
    yield ended


def _replicas(fleet: FleetStatus) -> Iterator[Metric]:
    counts = fleet.metrics()
    yield _gauge("fleet_replicas", "Replicas that run.", counts.replicas)
    yield _counter("fleet_moves", "Streams that were moved to another replica.", counts.moves)
    yield _counter("fleet_blocks", "Blocks that replicas made.", counts.blocks)
    yield _counter("fleet_remade_blocks", "Blocks that were made again.", counts.remade)
    yield _counter(
        "fleet_block_seconds", "Seconds that blocks were waited for.", counts.block_seconds
    )
    retries = CounterMetricFamily(
        "sana_stream_fleet_retries", "Calls that were repeated, by reason.", labels=["reason"]
    )
    for reason, count in counts.retries.items():
        retries.add_metric([reason], count)
    yield retries
    yield _gauge(
        "fleet_longest_pause_seconds",
        "The longest pause of a stream after a replica was lost.",
        counts.longest_pause,
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sana_stream_{name}", text, value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"sana_stream_{name}", text, value)
