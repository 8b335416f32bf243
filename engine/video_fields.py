"""Interlaced frames made whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from av.error import FFmpegError
from av.filter import Graph, filters_available
from av.video.frame import VideoFrame

FILTER = "bwdif"


def deinterlaced(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """The same frames at the same times, those that are interlaced without their combs.

    Progressive ones pass as they are, until the first interlaced one comes.
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
    except (FFmpegError, ValueError):  # pixels that the filter does not take stay as they are
        return None
    return graph


def _pushed(graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    """What a graph gives for one frame more, or for the last one."""
    try:
        graph.push(frame)
    except (FFmpegError, ValueError):
        if frame is not None:
            yield frame
        return
    while True:
        try:
            pulled = graph.pull()
        except (FFmpegError, EOFError):  # it wants more, or has no more
            return
        assert isinstance(pulled, VideoFrame)
        yield pulled
