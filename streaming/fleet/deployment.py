"""The deployment on Ray Serve: one loaded model a replica."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.model import describe_files

from .device import MOST_CALLS
from .order import StreamOrder
from .replica import StreamBlocks
from .replica_metrics import ReplicaMetrics
from .reply import BlockReply
from .store import StreamStore

logger = logging.getLogger(__name__)
STALL_SECONDS = 300.0  # with calls under way and none ended, after which a replica is replaced


class EngineReplica:
    """One engine of a fleet. Any replica answers any call from the store.

    Args:
        config: names the model.
        store: URL of the fleet's store.
        every: blocks between two snapshots.
        cached: streams in memory.
    """

    def __init__(self, config: RunConfig, store: str, every: int, cached: int) -> None:
        from ray import serve  # pyright: ignore[reportMissingImports]
        from ray.util import metrics  # pyright: ignore[reportMissingImports]

        name = serve.get_replica_context().replica_id.unique_id
        engine = describe_files(config).load(config)
        self._metrics = ReplicaMetrics(metrics)
        self._blocks = StreamBlocks(engine, StreamStore(store), name, every, cached)
        self._blocks.snapshots.on_written = self._on_snapshot
        self._pool = ThreadPoolExecutor(MOST_CALLS, thread_name_prefix="sana-stream-call")
        self._running = 0
        self._progress = time.monotonic()  # when a call ended, or the first of several began
        self._draining = False

    async def block(
        self, stream: str, number: int, order: StreamOrder, due: float | None = None
    ) -> BlockReply:
        """As `StreamBlocks.block`."""
        reply = await self._in_pool(self._blocks.block, stream, number, order, due)
        self._metrics.on_reply(reply)
        return reply

    async def checkpoint(
        self, stream: str, number: int, order: StreamOrder, extra: dict[str, object]
    ) -> bytes:
        """As `StreamBlocks.checkpoint`."""
        return await self._in_pool(self._blocks.checkpoint, stream, number, order, extra)

    async def drain(self, stream: str) -> int:
        """Finish the running blocks, store every stream, then let Serve replace this replica.

        Returns the number of streams that were stored.
        """
        self._draining = True
        return await asyncio.get_running_loop().run_in_executor(None, self._blocks.save_all)

    async def check_health(self) -> None:
        """Fail when no call has ended for too long, or when the replica is drained."""
        if self._running and time.monotonic() - self._progress > STALL_SECONDS:
            raise RuntimeError(f"no call has ended for {STALL_SECONDS:g} s")
        if self._draining and not self._running:
            raise RuntimeError("drained")

    async def __del__(self) -> None:
        """Store every stream when Serve replaces or removes this replica."""
        blocks = getattr(self, "_blocks", None)
        if blocks is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, blocks.save_all)
            blocks.close()

    async def _in_pool(self, call: Any, *arguments: Any) -> Any:
        if not self._running:
            self._progress = time.monotonic()
        self._running += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, call, *arguments)
        finally:
            self._running -= 1
            self._progress = time.monotonic()

    def _on_snapshot(self, seconds: float, fault: str | None) -> None:
        self._metrics.on_snapshot(seconds, fault)
        if fault is not None:
            logger.warning("%s", fault)
