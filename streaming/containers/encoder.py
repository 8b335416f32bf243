"""Pictures to packets: each block is one closed group of pictures from an encoder of its own.

A fresh encoder a block holds nothing back at the block's end, lets a reader join at any block and
keeps memory flat; opening one takes a few milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace

from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.video_format import EncoderSettings, VideoFormat

if TYPE_CHECKING:
    from av.packet import Packet


def fall_back_to_software(
    encoding: EncoderSettings, video: VideoFormat, report: Callable[[str], None]
) -> EncoderSettings:
    """The encoding as it is, or without the GPU when that cannot encode; `report` says why.

    Many GPUs made for computing have no encoder at all, so one frame is tried.
    """
    if not encoding.nvenc:
        return encoding
    try:
        _try_one_frame(encoding, video)
    except (OSError, ValueError, FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it gives no reason"
        report(
            f"the GPU cannot encode {encoding.codec or 'h264'} ({safe_text(reason).lower()});"
            " the CPU does it"
        )
        return replace(encoding, nvenc=False)
    return encoding


def _try_one_frame(encoding: EncoderSettings, video: VideoFormat) -> None:
    codec = encoding.codec or "h264"
    context = cast("VideoCodecContext", av.CodecContext.create(encoder_name(encoding, codec), "w"))
    configure_encoder(context, video)
    context.options = encoder_options(encoding, codec)
    black = np.zeros((1, video.height, video.width, 3), np.uint8)
    if not list(encode(context, black, 0, video)):
        raise OSError("it gave no data")


BT709 = 1  # the number of BT.709 in matrix, primaries and transfer alike (ITU-T H.273)
LIMITED = 1  # luma 16 to 235


@dataclass(frozen=True, slots=True)
class Codec:
    """How a codec is called, set up and stored."""

    encoder: str
    crf: int | None = None
    preset: str | None = None
    preset_option: str = "preset"
    options: dict[str, str] = field(default_factory=dict)
    mp4_tag: str | None = None


CODECS = {
    # x264's macroblock tree reads memory that nobody has written: the same pictures would give
    # another file each time.
    "h264": Codec("libx264", 18, "veryfast", options={"mbtree": "0"}),
    "h265": Codec(
        "libx265", 22, "veryfast", mp4_tag="hvc1", options={"x265-params": "log-level=error"}
    ),
    "av1": Codec("libsvtav1", 30, "8"),
    "vp9": Codec("libvpx-vp9", 30, "6", "cpu-used", {"deadline": "realtime", "row-mt": "1"}),
    "ffv1": Codec("ffv1", options={"slicecrc": "1"}),
}
_NVENC = {"h264": "h264_nvenc", "h265": "hevc_nvenc", "av1": "av1_nvenc"}


def encoder_name(encoding: EncoderSettings, codec: str) -> str:
    """Which encoder makes `codec`."""
    return _NVENC[codec] if encoding.nvenc else CODECS[codec].encoder


def encoder_options(encoding: EncoderSettings, codec: str) -> dict[str, str]:
    """The options given to the encoder of `codec`, with the codec's defaults filled in."""
    known = CODECS[codec]
    if encoding.nvenc:
        quality = known.crf if encoding.crf is None else encoding.crf
        return {"rc": "vbr", "cq": str(quality), "preset": "p4"}
    options = dict(known.options)
    crf = known.crf if encoding.crf is None else encoding.crf
    if crf is not None:
        options["crf"] = str(crf)
    preset = known.preset if encoding.preset is None else encoding.preset
    if preset is not None:
        options[known.preset_option] = preset
    return options


def configure_encoder(context: VideoCodecContext, video: VideoFormat) -> None:
    """Give an encoder that is not open yet the size, clock and colours of the stream."""
    if context.name == "libsvtav1":
        # It tells its life at every block, and listens to nothing else.
        os.environ.setdefault("SVT_LOG", "1")
    context.width, context.height = video.width, video.height
    context.pix_fmt = "yuv420p"
    context.time_base = video.frame_time
    context.framerate = video.rate
    context.bit_rate = 0  # the quality rules, not the size
    context.thread_count = max(1, min(4, (os.cpu_count() or 1) // 2))
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED


@contextmanager
def explain_encoder_errors(
    codec: str, video: VideoFormat, kind: type[OutputError] | type[InvalidOutputError]
) -> Iterator[None]:
    """Tell what an encoder or a container refuses in words; libav's own are a call and a number."""
    try:
        yield
    except FFmpegError as error:
        raise kind(
            f"codec {codec} fails with {video.width}x{video.height} pictures at"
            f" {float(video.rate):g} frames a second ({(error.strerror or 'no reason').lower()});"
            " take another codec, size or --fps"
        ) from error


def encode(
    context: VideoCodecContext, frames: np.ndarray, start: int, video: VideoFormat
) -> Iterator[Packet]:
    """Encode one block with a fresh encoder and drain it.

    `frames` is uint8 (T, H, W, 3) in RGB, `start` the stream's number of the first; time stamps
    count frames.
    """
    for number, picture in enumerate(frames, start):
        frame = to_yuv709(picture)
        frame.pts, frame.time_base = number, video.frame_time
        yield from context.encode(frame)
    yield from context.encode(None)


def to_yuv709(picture: np.ndarray) -> av.VideoFrame:
    """One RGB picture, uint8 (H, W, 3), as 4:2:0 in BT.709 limited range, tagged so."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    frame.colorspace, frame.color_range = BT709, LIMITED
    return frame
