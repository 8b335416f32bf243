"""From a URL to a live output."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from urllib.parse import SplitResult, urlsplit

from sana_stream.streaming.containers.registry import Muxer, make_muxer
from sana_stream.streaming.errors import TargetError
from sana_stream.streaming.video_format import Encoding, Tags, VideoFormat

from .base import label
from .ffmpeg_transport import FORMATS, ChildTransport, find_ffmpeg
from .network import LiveSink
from .sockets import DatagramTransport, Listener, connect_tcp, connect_unix
from .transports import Transport

TIMEOUT = 10.0  # seconds that a reader may take nothing
SCHEMES = ("tcp", "unix", "udp", *FORMATS)


def open_address(
    address: str,
    video: VideoFormat,
    encoding: Encoding,
    tags: Tags,
    container: str | None,
    stop: Event,
    report: Callable[[str], None],
    alone: bool,
) -> LiveSink:
    """Connect to, or listen on, the address that a URL names.

    `tcp://host:port` and `unix:///path` connect, with `?listen` behind them they wait for a
    reader; `udp://host:port` sends datagrams; what else ffmpeg speaks goes through it. Raises
    TargetError when the URL is wrong or nobody answers.
    """
    try:
        parts, name = urlsplit(address), label(address)
    except ValueError as error:
        raise TargetError(f"this is no address: {str(error).lower()}") from error
    if parts.scheme not in SCHEMES:
        raise TargetError(f"{name}: one of {' '.join(f'{s}://' for s in SCHEMES)}")
    container = container or ("matroska" if parts.scheme in FORMATS else "mpegts")
    if parts.scheme in FORMATS:
        find_ffmpeg(address)
        if container != "matroska":
            raise TargetError(f"{name}: its format is fixed; leave it out")
        if parts.scheme.startswith("rtmp") and encoding.codec not in (None, "h264"):
            raise TargetError(f"{name}: codec {encoding.codec!r}: rtmp takes h264")
    if parts.scheme == "udp" and container != "mpegts":
        raise TargetError(f"{name}: format {container!r}: datagrams carry mpegts only")

    def muxer() -> Muxer:
        return make_muxer(container, video, encoding, tags)

    muxer()  # refuse a wrong encoding before anybody is called
    try:
        listener = _listener(parts, stop)
        if listener is not None:
            report(f"{name}: waiting for a reader")
            return LiveSink(
                name,
                listener.accept,
                muxer,
                video,
                report,
                alone=alone,
                listening=True,
                close=listener.close,
            )
        connect = _connector(address, parts, stop)
        return LiveSink(name, connect, muxer, video, report, alone=alone)
    except TargetError:
        raise
    except OSError as error:
        raise TargetError(f"{name}: {(error.strerror or str(error)).lower()}") from error


def _listener(parts: SplitResult, stop: Event) -> Listener | None:
    if parts.query not in ("listen", "listen=1") or parts.scheme not in ("tcp", "unix"):
        return None
    if parts.scheme == "unix":
        return Listener.unix(_path(parts), stop, TIMEOUT)
    return Listener.tcp(parts.hostname or "", _port(parts), stop, TIMEOUT)


def _connector(address: str, parts: SplitResult, stop: Event) -> Callable[[], Transport]:
    if parts.scheme == "unix":
        path = _path(parts)
        return lambda: connect_unix(path, stop, TIMEOUT)
    if parts.scheme in FORMATS:
        return lambda: ChildTransport(address, stop, TIMEOUT)
    host, port = parts.hostname or "", _port(parts)
    if not host:
        raise TargetError(f"{label(address)}: names no host")
    if parts.scheme == "udp":
        return lambda: DatagramTransport(host, port, stop)
    return lambda: connect_tcp(host, port, stop, TIMEOUT)


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = None
    if not port:
        place = label(parts.geturl())
        raise TargetError(f"{place}: needs a port, as in {parts.scheme}://host:9000")
    return port


def _path(parts: SplitResult) -> str:
    path = parts.netloc + parts.path
    if not path:
        raise TargetError("unix://: needs a path, as in unix:///tmp/video.sock")
    return path
