"""Encoding frames into packets: each block is one closed group of pictures from a new encoder.

A new encoder for each block holds no frame back at the block's end, lets a reader join at any block
and keeps memory constant. Opening one takes a few milliseconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace

from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

from .priority import keep_priority

if TYPE_CHECKING:
    from av.packet import Packet

logger = logging.getLogger(__name__)


def fall_back_to_software(spec: StreamSpec) -> StreamSpec:
    """The spec as it is, or without `nvenc` if the GPU cannot encode, which is logged.

    Many GPUs for computing have no encoder, so one frame is encoded to find out.
    """
    if not spec.encoder.nvenc:
        return spec
    try:
        _try_one_frame(spec)
    except (OSError, ValueError, FFmpegError) as error:
        logger.warning(
            "the GPU cannot encode %s (%s); the CPU encodes",
            spec.encoder.codec or "h264",
            safe_text(os_reason(error)) or "no reason is given",
        )
        return replace(spec, encoder=replace(spec.encoder, nvenc=False))
    return spec


def _try_one_frame(spec: StreamSpec) -> None:
    video, codec = spec.video, spec.encoder.codec or "h264"
    name = encoder_name(spec.encoder, codec)
    context = cast("VideoCodecContext", av.CodecContext.create(name, "w"))
    configure_encoder(context, video, pixel_format(spec.encoder, codec))
    context.options = encoder_options(spec.encoder, codec)
    black = np.zeros((1, video.height, video.width, 3), np.uint8)
    if not list(encode(context, black, 0, video)):
        raise OSError("the encoder returned no data")


BT709 = 1  # the number of BT.709 in matrix, primaries and transfer alike (ITU-T H.273)
LIMITED = 1  # luma 16 to 235


@dataclass(frozen=True, slots=True)
class Codec:
    """The encoder of a codec, its default options, and its tag in MP4."""

    encoder: str
    crf: int | None = None
    preset: str | None = None
    preset_option: str = "preset"
    preset_form: str = "{}"
    options: dict[str, str] = field(default_factory=dict)
    mp4_tag: str | None = None


CODECS = {
    # x264's macroblock tree reads uninitialized memory: the same frames would give a different file
    # each time
    "h264": Codec("libx264", 18, "veryfast", options={"mbtree": "0"}),
    "h265": Codec(
        "libx265", 22, "veryfast", mp4_tag="hvc1", options={"x265-params": "log-level=error"}
    ),
    "av1": Codec("libsvtav1", 30, "8"),
    "vp9": Codec(
        "libvpx-vp9", 30, "6", "cpu-used", options={"deadline": "realtime", "row-mt": "1"}
    ),
    "ffv1": Codec("ffv1", options={"slicecrc": "1"}),
    "prores": Codec("prores_ks", None, "hq", "profile", options={"vendor": "apl0"}),
    "dnxhr": Codec("dnxhd", None, "hqx", "profile", "dnxhr_{}"),
}
_NVENC = {"h264": "h264_nvenc", "h265": "hevc_nvenc", "av1": "av1_nvenc"}


def encoder_name(encoder: EncoderSettings, codec: str) -> str:
    """The name of the encoder for `codec`, as libavcodec knows it."""
    return _NVENC[codec] if encoder.nvenc else CODECS[codec].encoder


def encoder_options(encoder: EncoderSettings, codec: str) -> dict[str, str]:
    """The options given to the encoder of `codec`, with the codec's defaults filled in."""
    known = CODECS[codec]
    if encoder.nvenc:
        quality = known.crf if encoder.crf is None else encoder.crf
        return {"rc": "vbr", "cq": str(quality), "preset": "p4"}
    options = dict(known.options)
    crf = known.crf if encoder.crf is None else encoder.crf
    if crf is not None:
        options["crf"] = str(crf)
    preset = known.preset if encoder.preset is None else encoder.preset
    if preset is not None:
        options[known.preset_option] = known.preset_form.format(preset)
    return options


def pixel_format(encoder: EncoderSettings, codec: str) -> str:
    """The pixel format that is encoded, as libavutil knows it."""
    if codec == "prores" or (codec == "dnxhr" and encoder.preset in (None, "hqx")):
        return "yuv422p10le"
    if codec == "dnxhr":
        return "yuv422p"
    if encoder.bit_depth == 10:
        return "p010le" if encoder.nvenc else "yuv420p10le"
    return "yuv420p"


def configure_encoder(context: VideoCodecContext, video: VideoFormat, pixels: str) -> None:
    """Set the size, time base, pixel format and colours on an encoder that is not open yet."""
    if context.name == "libsvtav1":
        # it logs its settings at every block, and only this variable stops it
        os.environ.setdefault("SVT_LOG", "1")
    context.width, context.height = video.width, video.height
    context.pix_fmt = pixels
    context.time_base = video.frame_time
    context.framerate = video.rate
    context.bit_rate = 0  # constant quality, not constant size
    context.thread_count = max(1, min(4, (os.cpu_count() or 1) // 2))
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED


@contextmanager
def explain_encoder_errors(
    codec: str, video: VideoFormat, kind: type[OutputError] | type[InvalidOutputError]
) -> Iterator[None]:
    """Replace errors of libav, which name a call and a number, by what to change."""
    try:
        yield
    except FFmpegError as error:
        raise kind(
            f"codec {codec} fails at {video.width}x{video.height} and {float(video.rate):g} frames"
            f" a second ({os_reason(error) or 'no reason is given'}); use another codec, size or"
            " fps"
        ) from error


def encode(
    context: VideoCodecContext, frames: np.ndarray, start: int, video: VideoFormat
) -> Iterator[Packet]:
    """Encode one block with a fresh encoder and drain it.

    `frames` is uint8 (T, H, W, 3) in RGB; `start` is the number of the first one in the stream.
    Time stamps are frame numbers.
    """
    pixels = context.pix_fmt or "yuv420p"
    for number, rgb in enumerate(frames, start):
        frame = to_yuv709(rgb, pixels)
        frame.pts, frame.time_base = number, video.frame_time
        with keep_priority():  # the first frame opens the encoder
            packets = context.encode(frame)
        yield from packets
    yield from context.encode(None)


def to_yuv709(rgb: np.ndarray, pixels: str) -> av.VideoFrame:
    """Convert an RGB frame, uint8 (H, W, 3), to a YUV format in BT.709 limited range, tagged so."""
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format=pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    frame.colorspace, frame.color_range = BT709, LIMITED
    return frame
