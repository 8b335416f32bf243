"""Takes finished blocks to every output at once, each at its own pace, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING

from sana_stream._arguments import shown
from sana_stream.errors import InvalidOutputError, OutputCancelled, OutputError, ReaderDisconnected

from .base import Output

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_WAITING_BLOCKS = 2  # an output may lag so many blocks before it holds up the stream
_SLOW_AFTER = 5.0  # seconds of waiting for one output before it is said


class OutputPump:
    """Feeds outputs, a thread and a queue of two blocks each.

    An output that keeps the video stops everything when it fails; any other only ends itself,
    unless it was the last or no other one is whole; the end says it again. A reader that has gone
    is a normal end. `report` gets what a person should know, one line each.
    """

    def __init__(self, outputs: Sequence[Output], report: Callable[[str], None]) -> None:
        if isinstance(outputs, str | bytes) or not isinstance(outputs, Sequence) or not outputs:
            raise InvalidOutputError(
                f"sinks {shown(outputs)}: a pump needs a list of one output or more"
            )
        for sink in outputs:
            if not all(hasattr(sink, name) for name in ("write", "close", "durable", "name")):
                raise InvalidOutputError(
                    f"sinks {shown(sink)}: give outputs as open_output returns them"
                )
        self._keeping = [sink for sink in outputs if sink.durable]
        self._feeds = [_OutputThread(sink) for sink in outputs]
        self._failed: list[str] = []  # outputs that the run went on without
        self._report = report

    def write(self, block: Block) -> bool:
        """Hand a block to every output, waiting for slow ones.

        Returns False when no output takes blocks any more. Raises OutputError when an output failed
        that the run cannot go on without.
        """
        for feed in self._feeds:
            feed.put(block, self._report)
        self._settle()
        return bool(self._feeds)

    @property
    def saved_frames(self) -> int:
        """How many frames every output has that keeps the video; 0 where there is none."""
        return min((sink.frames for sink in self._keeping), default=0)

    def close(self) -> None:
        """Deliver what is waiting, complete every output; raises OutputError as `write` does."""
        feeds = list(self._feeds)
        for feed in feeds:
            feed.put(None, self._report)
        for feed in feeds:
            feed.join()
        failed, self._failed = self._failed, []
        self._settle()
        self._feeds = []
        for line in failed:
            self._report(f"not delivered to its end: {line}")

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
        except Exception as also:  # of any kind: the first one is the reason
            self._report(str(also) or type(also).__name__)

    def _settle(self) -> None:
        """Let go of outputs that have ended, and judge why they did."""
        ended = [feed for feed in self._feeds if feed.ended]
        self._feeds = [feed for feed in self._feeds if feed not in ended]
        whole = any(feed.error is None for feed in ended)
        fatal: Exception | None = None
        for feed in ended:
            match feed.error:
                case None:
                    continue
                case ReaderDisconnected() | OutputCancelled() as end:
                    self._report(str(end))
                case OutputError() as failure if not feed.sink.durable and self._feeds:
                    self._report(f"{failure}; the other outputs go on")
                    self._failed.append(str(failure))
                case OutputError() as failure if not feed.sink.durable and whole:
                    self._report(f"{failure}; the other outputs are whole")
                case failure:
                    fatal = fatal or failure
        if fatal is not None:
            raise fatal


class _OutputThread:
    """One output with its queue and its thread."""

    def __init__(self, output: Output) -> None:
        self.sink = output
        self.error: Exception | None = None
        self._queue: Queue[Block | None] = Queue(_WAITING_BLOCKS)
        self._thread = Thread(target=self._run, name=f"output {output.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def put(self, block: Block | None, report: Callable[[str], None]) -> None:
        """Wait for room; an output that has ended takes nothing."""
        begun, told = time.monotonic(), False
        while not self.ended:
            try:
                self._queue.put(block, timeout=0.1)
                return
            except Full:
                if not told and time.monotonic() - begun > _SLOW_AFTER:
                    report(f"{self.sink.name}: is slower than the video is made; waiting for it")
                    told = True

    def join(self) -> None:
        """Wait for the thread in slices, between which a signal can be handled."""
        while self._thread.is_alive():
            self._thread.join(0.1)

    def _run(self) -> None:
        try:
            while (block := self._queue.get()) is not None:
                self.sink.write(block)
        except Exception as error:  # of any kind: it is raised where the blocks come from
            self.error = error
        try:
            self.sink.close()
        except Exception as error:
            self.error = self.error or error
        self._forget()

    def _forget(self) -> None:
        """Free the blocks nobody will take."""
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                return
