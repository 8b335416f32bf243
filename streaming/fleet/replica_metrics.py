"""What a replica counts for Ray, which exports it for Prometheus."""

from __future__ import annotations

from typing import Any

from .reply import BlockReply

_SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30]  # upper ends of the ranges of a histogram


class ReplicaMetrics:
    """Counters and histograms of one replica.

    Args:
        metrics: the module `ray.util.metrics`.
    """

    def __init__(self, metrics: Any) -> None:
        counter, histogram = metrics.Counter, metrics.Histogram
        self._made = counter("sana_stream_blocks_made", "blocks made, repeated ones included")
        self._loads = counter("sana_stream_stream_loads", "streams loaded from the store")
        self._faults = counter("sana_stream_snapshot_faults", "snapshots that were not stored")
        self._block = histogram("sana_stream_block_seconds", "seconds a block", _SECONDS)
        self._store = histogram("sana_stream_snapshot_seconds", "seconds a snapshot", _SECONDS)

    def on_reply(self, reply: BlockReply) -> None:
        """Count the blocks that were made for a reply; none for a repeated call."""
        if reply.made:  # Ray refuses to count 0
            self._made.inc(reply.made)
            self._block.observe(reply.stats.total_seconds)
        if reply.loaded is not None:
            self._loads.inc()

    def on_snapshot(self, seconds: float, fault: str | None) -> None:
        """Count a snapshot, and that it was not stored where there is a fault."""
        self._store.observe(seconds)
        if fault is not None:
            self._faults.inc()
