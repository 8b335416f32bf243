"""Encoding on an NVIDIA GPU, where one is asked for and can do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from sana_stream._text import safe_text

from .encode import encode, encoder_name, encoder_options, set_up
from .format import Encoding, VideoFormat


def without_absent_hardware(
    encoding: Encoding, video: VideoFormat, report: Callable[[str], None]
) -> Encoding:
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


def _try_one_frame(encoding: Encoding, video: VideoFormat) -> None:
    codec = encoding.codec or "h264"
    context = cast("VideoCodecContext", av.CodecContext.create(encoder_name(encoding, codec), "w"))
    set_up(context, video)
    context.options = encoder_options(encoding, codec)
    black = np.zeros((1, video.height, video.width, 3), np.uint8)
    if not list(encode(context, black, 0, video)):
        raise OSError("it gave no data")
