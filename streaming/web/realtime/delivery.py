"""Sending the blocks of a stream to the client of its session."""

from __future__ import annotations

import asyncio
from threading import Event

from sana_stream.streaming.control.pacing import RealtimePacer
from sana_stream.streaming.video_format import VideoFormat
from sana_stream.streaming.web.live_feed import MediaSegment
from sana_stream.streaming.web.registry import ActiveStream

from .connection import RealtimeConnection
from .interactions import Interactions
from .messages import ChunkMetadata, ExtraParams


class ChunkDelivery:
    """Sends every block of a stream, as fast as the client takes it or as it plays.

    A client that is 12 blocks behind continues with the newest one; the events of the blocks
    between are reported with it.

    Args:
        connection: of the client.
        request_id: of the session.
        stream: that is watched.
        interactions: of the client.
        params: whether chunks are sent only as fast as they play.

    Attributes:
        chunks: how many were sent.
        hurry: set to send the rest without pacing.
    """

    def __init__(
        self,
        connection: RealtimeConnection,
        request_id: str,
        stream: ActiveStream,
        interactions: Interactions,
        params: ExtraParams,
    ) -> None:
        self.chunks = 0
        self.hurry = asyncio.Event()
        self._connection = connection
        self._request_id = request_id
        self._stream = stream
        self._interactions = interactions
        self._frame = -1  # the first one of the last chunk
        self._pacer = None
        if params.pace_to_media_time:
            shown = stream.status.snapshot()
            video = VideoFormat(shown.width, shown.height, shown.fps)
            loop, lead = asyncio.get_running_loop(), params.pacing_lead_seconds
            self._pacer = RealtimePacer(video, Event(), loop.time, lead)

    async def run(self) -> None:
        """Send chunks until the stream ends; raises SessionEnded."""
        feed, number = self._stream.feed, -1
        feed.viewers += 1
        try:
            while segment := await feed.after(number):
                await self._pace(segment)
                await self._send(segment)
                number = segment.number
        finally:
            feed.viewers -= 1
            feed.touch()

    async def _pace(self, segment: MediaSegment) -> None:
        if self._pacer is None:
            return
        try:
            async with asyncio.timeout(self._pacer.delay()):
                await self.hurry.wait()
        except TimeoutError:
            pass
        self._pacer.on_block(segment.frames, 0.0)

    async def _send(self, segment: MediaSegment) -> None:
        events = self._stream.control.events.between(self._frame, segment.start)
        data = segment.data if self.chunks else self._stream.feed.init + segment.data
        metadata = ChunkMetadata(
            request_id=self._request_id,
            num_frames=segment.frames,
            byte_length=len(data),
            generation_chunk_index=events.index,
            transport_chunk_index=self.chunks,
            started_event_ids=events.started,
            active_event_ids=events.active,
            completed_event_ids=events.completed,
        )
        await self._connection.send(metadata, data)
        self._interactions.complete(events.completed)
        self._frame = segment.start
        self.chunks += 1
