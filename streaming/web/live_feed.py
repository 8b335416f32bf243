"""The newest blocks as fragments, for any number of viewers at their own pace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from sana_stream.streaming.containers.mp4 import Mp4Fragmenter
from sana_stream.streaming.video_format import EncoderSettings, Metadata, StreamSpec, VideoFormat

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart
    from sana_stream.streaming.audio import AudioTrack

_KEPT = 12  # fragments; a viewer that is further behind continues with the newest


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """One block, or a part of the first one, as an MP4 fragment."""

    number: int
    start: int  # number of its first frame in the video
    frames: int
    seconds: float
    data: bytes


class LiveFeed:
    """An output that keeps the last 12 blocks for viewers and never waits for any of them.

    Args:
        video: size and rate.
        longest_block: pixel frames of the longest block; default: as those written so far.
        frames: how many frames were made before, of a stream that is resumed.
        metadata: of the stream.
        audio: its sound.

    Attributes:
        frames: how many frames were made.
        viewers: how many clients are watching; counted by the web server.
    """

    durable = False
    takes_parts = True
    name = "web page"

    def __init__(
        self,
        video: VideoFormat,
        longest_block: int = 0,
        frames: int = 0,
        metadata: Metadata | None = None,
        audio: AudioTrack | None = None,
    ) -> None:
        self.frames = frames
        self.viewers = 0
        self._requested = time.monotonic()
        self._longest = video.seconds(longest_block)
        self._video = video
        spec = StreamSpec(video, EncoderSettings("h264"), metadata or Metadata(), audio)
        self._fragments = Mp4Fragmenter(spec)
        self._lock = Lock()
        self._segments: deque[MediaSegment] = deque(maxlen=_KEPT)
        self._count = 0
        self._closed = False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def init(self) -> bytes:
        """The initialization segment, which a viewer needs before any fragment."""
        return self._fragments.init

    @property
    def mime(self) -> str:
        """The MIME type for Media Source Extensions."""
        return self._fragments.mime()

    @property
    def closed(self) -> bool:
        """Whether the stream has ended."""
        return self._closed

    @property
    def target_duration(self) -> float:
        """Seconds of the longest segment, which a playlist must not change (RFC 8216, 6.2.1)."""
        return self._longest

    def touch(self) -> None:
        """Record that a client asked for the stream now."""
        self._requested = time.monotonic()

    def watched_within(self, seconds: float) -> bool:
        """Whether a client watches, or asked for the stream in the last `seconds` seconds."""
        return self.viewers > 0 or time.monotonic() - self._requested < seconds

    def write(self, block: Block | BlockPart) -> None:
        """Add a block, or a part."""
        data = self._fragments.fragment(block)
        with self._lock:
            frames = len(block.frames)
            seconds = self._video.seconds(frames)
            self._segments.append(MediaSegment(self._count, block.start, frames, seconds, data))
            self._count += 1
            self._longest = max(self._longest, seconds)
        self.frames += len(block.frames)
        self._wake()

    def close(self) -> None:
        """End the stream of every viewer."""
        self._closed = True
        self._wake()

    def drop(self) -> None:
        """Free the blocks of a stream that has ended."""
        with self._lock:
            self._segments.clear()

    def segments(self) -> tuple[MediaSegment, ...]:
        """The blocks that are kept, oldest first."""
        with self._lock:
            return tuple(self._segments)

    async def after(self, number: int | None) -> MediaSegment | None:
        """Wait for the segment after the one with this number.

        Returns:
            The newest segment if `number` is None or no longer kept; None after the last one.
        """
        woken = asyncio.Event()
        waiter = (asyncio.get_running_loop(), woken)
        self._waiting.add(waiter)
        try:
            while True:
                woken.clear()
                closed, segment = self._closed, self._find(number)
                if segment is not None or closed:
                    return segment
                await woken.wait()
        finally:
            self._waiting.discard(waiter)

    def _find(self, number: int | None) -> MediaSegment | None:
        with self._lock:
            if not self._segments or self._segments[-1].number == number:
                return None
            if number is not None and self._segments[0].number <= number + 1:
                return self._segments[number + 1 - self._segments[0].number]
            return self._segments[-1]

    def _wake(self) -> None:
        for loop, woken in tuple(self._waiting):
            with contextlib.suppress(
                RuntimeError
            ):  # the event loop has ended, and its viewers with it
                loop.call_soon_threadsafe(woken.set)
