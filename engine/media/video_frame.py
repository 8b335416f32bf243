"""Conversion of a decoded frame to how players display it: upright, square pixels, SDR."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from av.error import FFmpegError
from av.filter import Graph, filters_available
from av.video.frame import VideoFrame
from torch import Tensor

from sana_stream.errors import ConfigError

from .resize import cover, fit, to_pixels

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
BT709, UNSPECIFIED, BT2020 = 1, 2, 9  # matrices and primaries of ITU-T H.273
BT2020_CONSTANT = 10
WHITE = 203.0  # cd/m2 of HDR reference white (ITU-R BT.2408), mapped to almost SDR white
PEAK = 1000.0  # cd/m2 mapped to SDR white; brighter values are clipped
KNEE = 0.8  # of SDR white, in linear light; darker values are unchanged
TO_BT709 = (  # linear BT.2020 to BT.709 (ITU-R BT.2087)
    (1.6605, -0.5876, -0.0728),
    (-0.1246, 1.1329, -0.0083),
    (-0.0182, -0.1006, 1.1187),
)


def is_hdr(frame: VideoFrame) -> bool:
    """Whether a frame has PQ or HLG values."""
    return int(frame.color_trc) in (PQ, HLG)


def is_transparent(frame: VideoFrame) -> bool:
    """Whether parts of a frame are transparent."""
    return has_alpha(frame) and bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)


def has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame has an alpha channel."""
    return any(component.is_alpha for component in frame.format.components)


def to_rgb(frame: VideoFrame) -> np.ndarray:
    """Convert a frame to RGB (H, W, 3): uint8, or uint16 if the frame is HDR.

    Transparent parts are shown on white. An unspecified matrix is BT.709 for HD and BT.601 for
    smaller frames, as in players.

    Raises:
        ConfigError: colours that cannot be converted.
    """
    if int(frame.colorspace) == UNSPECIFIED and (frame.height > 576 or frame.width >= 1280):
        frame.colorspace = BT709
    if int(frame.colorspace) == BT2020_CONSTANT:
        frame.colorspace = BT2020
    try:
        if is_hdr(frame):
            return frame.to_ndarray(format="rgb48le")
        if has_alpha(frame):
            return _on_white(frame.to_ndarray(format="rgba"))
        return frame.to_ndarray(format="rgb24")
    except (FFmpegError, OSError, ValueError, MemoryError) as error:
        raise ConfigError(
            f"the clip's colours ({frame.format.name}, matrix {int(frame.colorspace)}) cannot be"
            " converted: save it as an MP4 in yuv420p"
        ) from error


def tone_map(signal: Tensor, transfer: int, primaries: int = BT2020) -> Tensor:
    """Tone-map HDR pixels (..., 3, H, W) in [0, 1] to sRGB in [0, 1].

    PQ is SMPTE ST 2084, HLG is ITU-R BT.2100 on a display of 1000 cd/m2. Linear light is divided
    by `WHITE`, unchanged up to `KNEE`, and compressed from there to `PEAK`. The scale is that of
    the largest channel, so that hues are kept.
    """
    light = (_pq(signal) if transfer == PQ else _hlg(signal)) / WHITE
    if primaries in (BT2020, UNSPECIFIED):
        light = torch.einsum("ij,...jhw->...ihw", torch.tensor(TO_BT709), light)
    light = light.clamp(min=0)
    brightest = light.amax(dim=-3, keepdim=True).clamp(min=1e-6)
    light = light * (_compressed(brightest) / brightest)
    low = light * 12.92
    return torch.where(light <= 0.0031308, low, 1.055 * light.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


def _compressed(x: Tensor) -> Tensor:
    """Compress above the knee: slope 1 at the knee, value 1 at the peak."""
    over = ((x - KNEE) / (PEAK / WHITE - KNEE)).clamp(0, 1)
    steep = (PEAK / WHITE - KNEE) / (1 - KNEE)
    return torch.where(x <= KNEE, x, KNEE + (1 - KNEE) * steep * over / (1 + (steep - 1) * over))


def _pq(signal: Tensor) -> Tensor:
    """Decode PQ values to cd/m2 (SMPTE ST 2084)."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal.clamp(0, 1) ** (1 / m2)
    return 10000 * ((root - c1).clamp(min=0) / (c2 - c3 * root)) ** (1 / m1)


def _hlg(signal: Tensor) -> Tensor:
    """Decode HLG values to cd/m2 on a display of 1000 cd/m2, system gamma 1.2 (BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = signal.clamp(0, 1)
    scene = torch.where(signal <= 0.5, signal**2 / 3, (((signal - c) / a).exp() + b) / 12)
    weights = torch.tensor((0.2627, 0.6780, 0.0593)).view(3, 1, 1)
    luminance = (scene * weights).sum(dim=-3, keepdim=True)
    return 1000 * scene * luminance.clamp(min=1e-6) ** 0.2


def _on_white(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


FILTER = "bwdif"


def deinterlace(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """Deinterlace interlaced frames; times and number of frames are unchanged.

    Frames before the first interlaced one are passed on as they are.
    """
    graph: Graph | None = None
    shape: tuple[object, ...] = ()
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name, frame.time_base)
        if graph is not None and now != shape:
            yield from _pushed(graph, None)
            graph = None
        if graph is None and frame.interlaced_frame and FILTER in filters_available:
            graph, shape = _graph(frame), now
        yield from [frame] if graph is None else _pushed(graph, frame)
    if graph is not None:
        yield from _pushed(graph, None)


def _graph(frame: VideoFrame) -> Graph | None:
    graph = Graph()
    try:
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        graph.link_nodes(
            source, graph.add(FILTER, "mode=send_frame:deint=interlaced"), graph.add("buffersink")
        ).configure()
    except (FFmpegError, ValueError):  # an unsupported pixel format is passed on as it is
        return None
    return graph


def _pushed(graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    """Push a frame, or `None` to flush, and yield the filter's output."""
    try:
        graph.push(frame)
    except (FFmpegError, ValueError):
        if frame is not None:
            yield frame
        return
    while True:
        try:
            pulled = graph.pull()
        except (FFmpegError, EOFError):  # it needs more input, or is flushed
            return
        assert isinstance(pulled, VideoFrame)
        yield pulled


def shown_size(frame: VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """Height and width of a frame as displayed."""
    height, width = frame.height, max(1, round(frame.width * pixel_aspect))
    return (width, height) if _matrix(frame)[0] else (height, width)


def shown(frame: VideoFrame, pixel_aspect: float, height: int, width: int) -> np.ndarray:
    """Convert a frame to its displayed form, scaled to cover a size, uint8 (height, width, 3).

    Args:
        pixel_aspect: width of a stored pixel divided by its height.

    Raises:
        ConfigError: colours that cannot be converted.
    """
    transposed, across, down = _matrix(frame)
    pixels = to_rgb(frame)
    if transposed:
        pixels, pixel_aspect = pixels.swapaxes(0, 1), 1 / pixel_aspect
    pixels = pixels[::down, ::across]
    if not is_hdr(frame):
        return np.ascontiguousarray(cover(pixels[None], height, width, pixel_aspect)[0])
    signal = fit(pixels, height, width, pixel_aspect) / 65535
    sdr = tone_map(signal, int(frame.color_trc), int(frame.color_primaries))
    return to_pixels(sdr * 255)


def _matrix(frame: VideoFrame) -> tuple[bool, int, int]:
    """Read the display matrix of a frame, rounded to a right angle.

    Returns whether rows become columns, and the steps (1 or -1) through columns and rows.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None or data.buffer_size != 36:
        return False, 1, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, -1 if a < 0 else 1, -1 if d < 0 else 1
    return True, -1 if c < 0 else 1, -1 if b < 0 else 1
