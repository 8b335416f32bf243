"""Delivery of finished blocks to files, pipes, sockets and browsers, and control of a run."""

from typing import TYPE_CHECKING

from sana_stream._lazy import lazy_exports

if TYPE_CHECKING:
    from sana_stream.streaming.outputs.open import open_output
    from sana_stream.streaming.outputs.options import OutputOptions
    from sana_stream.streaming.outputs.pump import OutputPump
    from sana_stream.streaming.video_format import (
        EncoderSettings,
        Metadata,
        StreamSpec,
        VideoFormat,
    )
    from sana_stream.streaming.web.live_feed import LiveFeed
    from sana_stream.streaming.web.server import WebServer

__all__ = [
    "EncoderSettings",
    "LiveFeed",
    "Metadata",
    "OutputOptions",
    "OutputPump",
    "StreamSpec",
    "VideoFormat",
    "WebServer",
    "open_output",
]

_HOMES = {
    "EncoderSettings": "sana_stream.streaming.video_format",
    "LiveFeed": "sana_stream.streaming.web.live_feed",
    "Metadata": "sana_stream.streaming.video_format",
    "OutputOptions": "sana_stream.streaming.outputs.options",
    "OutputPump": "sana_stream.streaming.outputs.pump",
    "StreamSpec": "sana_stream.streaming.video_format",
    "VideoFormat": "sana_stream.streaming.video_format",
    "WebServer": "sana_stream.streaming.web.server",
    "open_output": "sana_stream.streaming.outputs.open",
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
