"""An event loop whose clock jumps to the next timer, and a client in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

from starlette.websockets import WebSocketDisconnect


class VirtualLoop(asyncio.SelectorEventLoop):
    """Takes no time for waiting; `time` is the sum of what was waited for, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        timers = [timer.when() for timer in scheduled if not timer.cancelled()]
        if not ready and timers:
            self._now = max(self._now, min(timers))
        super()._run_once()  # type: ignore[misc]


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(coroutine)


def now() -> float:
    return asyncio.get_running_loop().time()


class FakeSocket:
    """A WebSocket of Starlette without a network.

    Attributes:
        sent: what was sent, with its time: messages, and the sizes of chunks.
        taking: cleared while the client takes nothing.
        closed: the code and the time.
    """

    def __init__(self) -> None:
        self.scope = {"state": {"abort": self._abort, "hold": lambda: None}}
        self.sent: list[tuple[float, Any]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.closed: tuple[int, float] | None = None
        self.aborted: float | None = None
        self._received: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    def give(self, **message: object) -> None:
        """Let the client send a message."""
        self._received.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def receive(self) -> dict[str, object]:
        return await self._received.get()

    async def send_text(self, text: str) -> None:
        await self._take(json.loads(text))

    async def send_bytes(self, data: bytes) -> None:
        await self._take(len(data))

    async def close(self, code: int, _: str) -> None:
        self.closed = code, now()

    async def _take(self, what: object) -> None:
        await self.taking.wait()
        if self.aborted is not None:
            raise WebSocketDisconnect(1006)
        self.sent.append((now(), what))

    def _abort(self) -> None:
        self.aborted = now()
        self._received.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.taking.set()

    def times(self, kind: str) -> list[float]:
        """When messages of a type were sent."""
        return [at for at, what in self.sent if isinstance(what, dict) and what["type"] == kind]
