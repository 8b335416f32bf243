"""Feeding finished blocks to all outputs at once, each at its own pace, in bounded memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import Empty, Queue
from threading import Semaphore, Thread
from types import TracebackType
from typing import TYPE_CHECKING

from sana_stream._arguments import shown
from sana_stream.errors import InvalidOutputError, OutputCancelled, OutputError, ReaderDisconnected

from .base import Output

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart

_QUEUED_BLOCKS = 2  # by which an output may lag before the stream waits for it
_SLOW_AFTER = 5.0  # seconds of waiting for one output before it is logged

logger = logging.getLogger(__name__)


class OutputPump:
    """Feeds outputs, with a thread and a queue of two blocks for each.

    A durable output that fails ends the run. Any other output that fails is closed and logged as a
    warning, unless it was the last one and no other is complete; `close` logs it again. A reader
    that disconnects is a normal end of its output.

    Args:
        outputs: as `open_output` returns them.
        on_write: called after each write with the output and the seconds that it took, from the
            thread of the output.
    """

    def __init__(
        self,
        outputs: Sequence[Output],
        on_write: Callable[[Output, float], None] = lambda output, seconds: None,
    ) -> None:
        if isinstance(outputs, str | bytes) or not isinstance(outputs, Sequence) or not outputs:
            raise InvalidOutputError(f"outputs {shown(outputs)}: give a list of one output or more")
        for output in outputs:
            if not all(hasattr(output, name) for name in ("write", "close", "durable", "name")):
                raise InvalidOutputError(
                    f"outputs {shown(output)}: give outputs as open_output returns them"
                )
        self._durable = [output for output in outputs if output.durable]
        self._threads = [_OutputThread(output, on_write) for output in outputs]
        self._failures: list[str] = []  # of outputs that the run continued without

    def write_part(self, part: BlockPart) -> None:
        """Queue a part of the next block, without waiting, for the outputs that take parts.

        `write` delivers the rest of the block to them. May be called from another thread.
        """
        for thread in self._threads:
            thread.put_part(part)

    def write(self, block: Block) -> bool:
        """Queue a block for every output, waiting for slow ones.

        Returns:
            False when no output takes blocks any more.

        Raises:
            OutputError: an output has failed that the run needs.
        """
        for thread in self._threads:
            thread.put(block)
        self._remove_ended()
        return bool(self._threads)

    @property
    def saved_frames(self) -> int:
        """How many frames every durable output has; 0 if there is none."""
        return min((output.frames for output in self._durable), default=0)

    def close(self) -> None:
        """Deliver what is queued and complete every output; raises OutputError as `write` does."""
        threads = list(self._threads)
        for thread in threads:
            thread.put(None)
        for thread in threads:
            thread.join()
        failures, self._failures = self._failures, []
        self._remove_ended()
        self._threads = []
        for failure in failures:
            logger.warning("not delivered to its end: %s", failure)

    def __enter__(self) -> OutputPump:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except Exception as second:  # of any kind: the first error is the one to raise
            logger.warning("%s", str(second) or type(second).__name__)

    def _remove_ended(self) -> None:
        """Remove outputs that have ended; raise the error of one that the run needs."""
        ended = [thread for thread in self._threads if thread.ended]
        self._threads = [thread for thread in self._threads if thread not in ended]
        one_is_complete = any(thread.error is None for thread in ended)
        fatal: Exception | None = None
        for thread in ended:
            match thread.error:
                case None:
                    continue
                case ReaderDisconnected() as end:
                    logger.info("%s", end)
                case OutputCancelled() as end:
                    logger.warning("%s", end)
                case OutputError() as failure if not thread.output.durable and self._threads:
                    logger.warning("%s; the other outputs continue", failure)
                    self._failures.append(str(failure))
                case OutputError() as failure if not thread.output.durable and one_is_complete:
                    logger.warning("%s; the other outputs are complete", failure)
                case failure:
                    fatal = fatal or failure
        if fatal is not None:
            raise fatal


class _OutputThread:
    """One output with its queue and its thread."""

    def __init__(self, output: Output, on_write: Callable[[Output, float], None]) -> None:
        self.output = output
        self._on_write = on_write
        self.error: Exception | None = None
        self._takes_parts = bool(getattr(output, "takes_parts", False))
        # with each block or part, whether it takes room
        self._queue: Queue[tuple[Block | BlockPart | None, bool]] = Queue()
        self._room = Semaphore(_QUEUED_BLOCKS)
        self._parts = 0  # frames of the next block that were delivered as parts
        self._thread = Thread(target=self._run, name=f"output {output.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def put_part(self, part: BlockPart) -> None:
        """Queue a part where the output takes parts; all of them take the room of one block."""
        if self._takes_parts and not self.ended:
            self._parts += len(part.frames)
            self._queue.put((part, False))

    def put(self, block: Block | None) -> None:
        """Wait for room in the queue; an output that has ended takes nothing."""
        if block is not None and self._parts:
            sent, self._parts = self._parts, 0
            if sent >= len(block.frames):
                return
            block = replace(block, start=block.start + sent, frames=block.frames[sent:])
        self._put(block)

    def _put(self, block: Block | None) -> None:
        begun, logged = time.monotonic(), False
        while not self.ended:
            if self._room.acquire(timeout=0.1):
                self._queue.put((block, True))
                return
            if not logged and time.monotonic() - begun > _SLOW_AFTER:
                logger.warning(
                    "%s: is slower than the video is generated; waiting for it", self.output.name
                )
                logged = True

    def join(self) -> None:
        """Wait for the thread in slices, between which a signal can be handled."""
        while self._thread.is_alive():
            self._thread.join(0.1)

    def _run(self) -> None:
        try:
            while True:
                block, takes_room = self._queue.get()
                if takes_room:
                    self._room.release()
                if block is None:
                    break
                begun = time.perf_counter()
                # parts are queued only where the output takes them
                self.output.write(block)  # type: ignore[arg-type]
                self._on_write(self.output, time.perf_counter() - begun)
        except Exception as error:  # of any kind: it is raised where the blocks come from
            self.error = error
        try:
            self.output.close()
        except Exception as error:
            self.error = self.error or error
        self._empty_queue()

    def _empty_queue(self) -> None:
        """Free the blocks that are not written."""
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                return
