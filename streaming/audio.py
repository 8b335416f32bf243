"""The sound of a video: a file, looped, of which each block gets the part that plays with it.

The packets of a block are a function of its time alone: each block has an encoder of its own, which
begins some packets earlier, so that what it keeps fits the packets before. A resumed video
therefore has the same sound as an undisturbed one.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, cast

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError

from sana_stream._files import SEALED, require_regular_file
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.codeccontext import AudioCodecContext
    from av.container import InputContainer
    from av.packet import Packet

logger = logging.getLogger(__name__)
SAMPLE_RATE = 48_000
AAC_FRAME = 1024  # samples of a packet
_CHANNELS, _WIDTH = 2, 2  # stereo, bytes of a sample
_WARM_UP, _LEFT = 4, 3  # packets that are encoded before and after those that are kept


class AudioLoop:
    """An audio file as endless stereo of 48000 samples per second, repeated after its end.

    It is decoded as far as it is needed, into a temporary file. What is damaged in it is left out,
    with a warning. Several threads may read it.

    Raises:
        InvalidOutputError: the file cannot be read or has no sound.
    """

    def __init__(self, path: Path) -> None:
        self._name = safe_text(path)
        self._lock = Lock()
        self._length: int | None = None  # samples, once the end was decoded
        self._decoded = 0
        self._damaged = False
        try:
            self._container = _open(path)
            if not self._container.streams.audio:
                raise ValueError("no sound is in it")
            self._blocks = self._decode()
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
            self._extend(1)
        except (OSError, ValueError, FFmpegError) as error:
            raise InvalidOutputError(
                f"audio: {self._name}: {os_reason(error)}: give an audio file such as music.mp3"
            ) from error
        if not self._decoded:
            raise InvalidOutputError(f"audio: {self._name}: no sound is in it: give another file")

    def read(self, start: int, count: int) -> np.ndarray:
        """The samples from `start` on, int16 (count, 2); silence before 0.

        Raises:
            OutputError: the file cannot be decoded further.
        """
        silence = min(max(0, -start), count)
        parts = [np.zeros((silence, _CHANNELS), np.int16)]
        position, left = start + silence, count - silence
        with self._lock:
            while left:
                try:
                    self._extend(position + left)
                except (OSError, FFmpegError) as error:
                    raise OutputError(f"audio: {self._name}: {os_reason(error)}") from error
                place = position if self._length is None else position % self._length
                found = self._stored(place, min(left, self._decoded - place))
                parts.append(found)
                position, left = position + len(found), left - len(found)
        return np.concatenate(parts)

    def _stored(self, start: int, count: int) -> np.ndarray:
        self._spool.seek(start * _CHANNELS * _WIDTH)
        data = self._spool.read(count * _CHANNELS * _WIDTH)
        return np.frombuffer(data, np.int16).reshape(-1, _CHANNELS)

    def _extend(self, end: int) -> None:
        """Decode up to a sample, or to the end of the file."""
        while self._length is None and self._decoded < end:
            block = next(self._blocks, None)
            if block is None:
                self._length = self._decoded
                return
            self._spool.seek(self._decoded * _CHANNELS * _WIDTH)
            self._spool.write(block.tobytes())
            self._decoded += len(block)

    def _decode(self) -> Iterator[np.ndarray]:
        """All samples. Rate and layout may change in the middle, as in files that were joined."""
        resampler, format_before = None, None
        for frame in self._frames():
            found = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or found != format_before:
                yield from _resampled(resampler, None)
                resampler, format_before = _new_resampler(), found
            yield from _resampled(resampler, frame)
        yield from _resampled(resampler, None)

    def _frames(self) -> Iterator[av.AudioFrame]:
        """The frames that can be decoded; damaged ones are left out, as players do."""
        packets = self._container.demux(audio=0)
        while True:
            try:
                packet = next(packets, None)
            except InvalidDataError:
                self._warn_damaged()
                packet = None
            if packet is None:
                return
            try:
                yield from cast("list[av.AudioFrame]", packet.decode())
            except InvalidDataError:
                self._warn_damaged()

    def _warn_damaged(self) -> None:
        if not self._damaged:
            logger.warning("audio: %s: damaged parts are left out", self._name)
        self._damaged = True


def _open(path: Path) -> InputContainer:
    require_regular_file(path)
    file = path.open("rb")
    try:
        return av.open(file, "r", options=SEALED, metadata_errors="replace")
    except BaseException:
        file.close()
        raise


def _new_resampler() -> av.AudioResampler:
    return av.AudioResampler("s16", "stereo", SAMPLE_RATE)


def _resampled(
    resampler: av.AudioResampler | None, frame: av.AudioFrame | None
) -> Iterator[np.ndarray]:
    """The samples (N, 2) of a frame; without a frame those that the resampler has kept."""
    for part in () if resampler is None else resampler.resample(frame):
        yield part.to_ndarray().reshape(-1, _CHANNELS)


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """The sound of one output, whose first frame is at `start` seconds of the sound."""

    loop: AudioLoop
    start: Fraction = Fraction(0)

    def after(self, seconds: Fraction) -> Self:
        """The sound of a file that begins later."""
        return replace(self, start=self.start + seconds)


def configure_audio(context: AudioCodecContext, codec: str) -> None:
    """Set an encoder of sound up that is not open yet; `codec` is "aac" or "libopus"."""
    context.sample_rate = SAMPLE_RATE
    context.layout = "stereo"
    context.format = {"aac": "fltp", "libopus": "s16"}[codec]
    context.time_base = Fraction(1, SAMPLE_RATE)
    context.bit_rate = {"aac": 192_000, "libopus": 128_000}[codec]
    if codec == "aac":
        # of its coders the one whose packets depend least on those long before
        context.options = {"aac_coder": "fast", "aac_pns": "0"}


class AudioEncoder:
    """Encodes the sound that plays with a block; `codec` is "aac" or "libopus"."""

    def __init__(self, track: AudioTrack, codec: str, frame_time: Fraction) -> None:
        self._codec = codec
        self._track = track
        self._frame_time = frame_time

    def packets(self, start: int, frames: int) -> list[Packet]:
        """The packets that begin while `frames` frames from frame `start` on are shown.

        Time stamps are samples from the beginning of the output.
        """
        first, last = self._sample(start), self._sample(start + frames)
        context = cast("AudioCodecContext", av.CodecContext.create(self._codec, "w"))
        configure_audio(context, self._codec)
        context.open()
        size = context.frame_size
        begin = first // size * size - _WARM_UP * size
        packets: list[Any] = []
        for position in range(begin, last + _LEFT * size, size):
            packets += context.encode(self._frame(position, size))
        packets += context.encode(None)
        return [each for each in packets if first <= cast("int", each.pts) < last]

    def _frame(self, position: int, size: int) -> av.AudioFrame:
        offset = round(self._track.start * SAMPLE_RATE)
        samples = self._track.loop.read(position + offset, size)
        if self._codec == "aac":
            planes = np.ascontiguousarray(samples.T.astype(np.float32) / 32768)
            frame = av.AudioFrame.from_ndarray(planes, "fltp", "stereo")
        else:
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, position
        frame.time_base = Fraction(1, SAMPLE_RATE)
        return frame

    def _sample(self, frame: int) -> int:
        return round(frame * self._frame_time * SAMPLE_RATE)
