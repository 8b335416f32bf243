"""One session: the stream that a client starts, watches and directs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from uuid import uuid4

from starlette.concurrency import run_in_threadpool

from sana_stream._text import safe_text
from sana_stream.errors import JobError, QueueFullError, StoreError
from sana_stream.streaming.control.job_queue import JobQueue, JobState, StreamJob
from sana_stream.streaming.web.registry import ActiveStream, StreamRegistry
from sana_stream.streaming.web.served_model import ServedModel

from .connection import RealtimeConnection, SessionEnded
from .delivery import ChunkDelivery
from .interactions import Interactions
from .messages import (
    ErrorMessage,
    InteractionQueued,
    SessionDone,
    SessionError,
    SessionInteraction,
    SessionMessage,
    SessionPing,
    SessionPong,
    SessionQueued,
    SessionStart,
    SessionStop,
    VideoStart,
    parse_message,
)

START_SECONDS = 10.0  # for a client to send `session.start`
_POLL_SECONDS = 0.05  # between two looks at the queue
_NORMAL, _POLICY, _FAILED, _LATER = 1000, 1008, 1011, 1013  # codes of RFC 6455 and its registry


class RealtimeSession:
    """Runs the protocol with one client; its stream is a job of the server's queue.

    Args:
        connection: of the client, accepted.
        jobs: the queue.
        streams: those that have begun.
        model: makes them.
    """

    def __init__(
        self,
        connection: RealtimeConnection,
        jobs: JobQueue,
        streams: StreamRegistry,
        model: ServedModel,
    ) -> None:
        self._connection = connection
        self._model = model
        self._jobs = jobs
        self._streams = streams
        self._request_id = f"video_stream-{uuid4().hex}"
        self._job: StreamJob | None = None
        self._stopped = False
        self._stream: ActiveStream | None = None
        self._interactions: Interactions | None = None
        self._delivery: ChunkDelivery | None = None

    async def run(self) -> None:
        """Run the session to its end; the stream of a client that disconnects is cancelled."""
        try:
            start = await self._receive_start()
            self._job = await self._submit(start)
            self._connection.hold()
            await self._until_first(self._read(), self._make(start, self._job))
            await self._connection.close(_NORMAL)
        except SessionError as error:
            with suppress(SessionEnded):
                await self._report(error)
            await self._connection.close(error.close or _FAILED)
        except SessionEnded:
            pass
        finally:
            if self._job is not None and not self._stopped:
                self._jobs.cancel(self._job.id)

    async def _until_first(self, *coroutines: Coroutine[Any, Any, None]) -> None:
        """Run until one ends, cancel the others, and raise what it raised."""
        tasks = [asyncio.create_task(each) for each in coroutines]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _receive_start(self) -> SessionStart:
        try:
            async with asyncio.timeout(START_SECONDS):
                text = await self._connection.receive()
        except TimeoutError as error:
            message = f"no session.start within {START_SECONDS:g} s"
            raise SessionError("start_timeout", message, close=_POLICY) from error
        try:
            start = parse_message(text)
            if not isinstance(start, SessionStart):
                raise SessionError("start_expected", "the first message is session.start")
            if start.format != "m4s":
                raise SessionError("unsupported_format", 'format: only "m4s" is sent')
        except SessionError as error:
            error.close = _POLICY
            raise
        return start

    async def _submit(self, start: SessionStart) -> StreamJob:
        if start.model not in (None, self._model.name):
            asked = safe_text(start.model, 80)
            message = f"the model {asked!r} does not exist: this server has {self._model.name!r}"
            raise SessionError("model_not_found", message, close=_POLICY)
        try:
            return await run_in_threadpool(self._jobs.submit, start.job_fields, keep=False)
        except (QueueFullError, StoreError) as error:
            raise SessionError("queue_full", str(error), close=_LATER) from error
        except JobError as error:
            raise SessionError("invalid_request", str(error), close=_POLICY) from error

    async def _read(self) -> None:
        """Answer the client's messages until it disconnects."""
        while True:
            text = await self._connection.receive()
            try:
                await self._answer(text)
            except SessionError as error:
                await self._report(error)

    async def _answer(self, text: str | None) -> None:
        match parse_message(text):
            case SessionPing():
                await self._connection.send(SessionPong())
            case SessionStop():
                self._stop()
            case SessionInteraction() as message:
                if self._interactions is None:
                    event_id = message.interaction.event_id
                    raise SessionError("not_started", "wait for video.start", event_id)
                event_id = self._interactions.submit(message.interaction)
                await self._send(InteractionQueued, event_id=event_id)
            case SessionStart():
                raise SessionError("already_started", "a session is started once")

    def _stop(self) -> None:
        assert self._job is not None
        self._stopped = True
        if self._delivery is not None:
            self._delivery.hurry.set()
        if self._stream is None:
            self._jobs.cancel(self._job.id)
        else:
            self._stream.control.end()

    async def _make(self, start: SessionStart, job: StreamJob) -> None:
        """Wait for the stream, send it, and report its end."""
        stream = await self._await_stream(job)
        if stream is not None:
            await self._deliver(start, stream)
        ended = await self._await_end(job)
        if ended is not None and ended.state is JobState.FAILED:
            raise SessionError("generation_failed", ended.message, close=_FAILED)
        for event_id in () if self._interactions is None else self._interactions.open:
            message = "the stream ended before the prompt was reached"
            await self._report(SessionError("interaction_failed", message, event_id))
        stopped = self._stopped or ended is None or ended.state is not JobState.FINISHED
        chunks = 0 if self._delivery is None else self._delivery.chunks
        await self._send(SessionDone, chunks=chunks, stopped=stopped)

    async def _deliver(self, start: SessionStart, stream: ActiveStream) -> None:
        self._stream, self._interactions = stream, Interactions(stream.control)
        shown = stream.status.snapshot()
        config = start.model_dump(exclude={"type", "format"}, exclude_none=True)
        config |= {"width": shown.width, "height": shown.height, "fps": shown.fps}
        config["seed"] = shown.seed
        await self._send(VideoStart, stream_id=stream.id, mime=stream.feed.mime, config=config)
        self._delivery = ChunkDelivery(
            *(self._connection, self._request_id, stream, self._interactions),
            start.extra_params,
        )
        if self._stopped:
            self._delivery.hurry.set()
        await self._delivery.run()

    async def _await_stream(self, job: StreamJob) -> ActiveStream | None:
        """Wait for the stream to begin; None if it has ended before. Report its place meanwhile."""
        reported = None
        while (stream := self._streams.find(str(job.id))) is None:
            if (found := self._find(job)) is None or found.is_over:
                return None
            await asyncio.sleep(_POLL_SECONDS)
            place = self._jobs.place(job)
            if place is not None and place != reported:
                reported = place
                await self._send(SessionQueued, stream_id=job.id, place=place)
        return stream

    async def _await_end(self, job: StreamJob) -> StreamJob | None:
        """Wait until the job is over; None if it is not listed any more."""
        while (found := self._find(job)) is not None and not found.is_over:
            await asyncio.sleep(_POLL_SECONDS)
        return found

    def _find(self, job: StreamJob) -> StreamJob | None:
        return next((each for each in self._jobs.jobs() if each.id == job.id), None)

    async def _send(self, kind: type[SessionMessage], **fields: Any) -> None:
        await self._connection.send(kind(request_id=self._request_id, **fields))

    async def _report(self, error: SessionError) -> None:
        begun = self._job is not None
        await self._connection.send(
            ErrorMessage(
                message=str(error),
                code=error.code,
                request_id=self._request_id if begun else None,
                event_id=error.event_id,
            )
        )
