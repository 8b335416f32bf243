"""What shows a server and its streams to the user who started it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sana_stream.streaming.run.plan import RunPlan
from sana_stream.streaming.run.progress import Progress


class StreamReporter(Protocol):
    """Shows one stream to the user who started the server."""

    def note(self, line: str) -> None: ...

    def failed(self, line: str, error: BaseException) -> None: ...

    def plan(self, plan: RunPlan, outputs: tuple[str, ...]) -> None: ...

    def running(self, progress: Progress) -> AbstractContextManager[None]: ...

    def block(self, progress: Progress) -> None: ...


class ServerReporter(Protocol):
    """Shows a server to the user who started it; its methods are called from any thread."""

    def note(self, line: str) -> None: ...

    def stream(self, stream_id: int) -> StreamReporter: ...

    def describe(self, error: BaseException) -> str: ...
