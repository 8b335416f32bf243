"""From a URL to a live output."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from urllib.parse import SplitResult, urlsplit

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.registry import Muxer, create_muxer
from sana_stream.streaming.video_format import EncoderSettings, Metadata, VideoFormat

from .base import redact_url
from .ffmpeg_transport import FORMATS, FFmpegTransport, find_ffmpeg
from .network import NetworkOutput
from .sockets import Listener, UdpTransport, connect_tcp, connect_unix
from .transports import Transport

TIMEOUT = 10.0  # seconds that a reader may take nothing
SCHEMES = ("tcp", "unix", "udp", *FORMATS)


def open_address(
    address: str,
    video: VideoFormat,
    encoding: EncoderSettings,
    tags: Metadata,
    container: str | None,
    stop: Event,
    report: Callable[[str], None],
    sole_output: bool,
) -> NetworkOutput:
    """Connect to, or listen on, the address that a URL names.

    `tcp://host:port` and `unix:///path` connect, with `?listen` behind them they wait for a
    reader; `udp://host:port` sends datagrams; what else ffmpeg speaks goes through it. Raises
    InvalidOutputError when the URL is wrong or nobody answers.
    """
    try:
        parts, name = urlsplit(address), redact_url(address)
    except ValueError as error:
        raise InvalidOutputError(f"this is no address: {str(error).lower()}") from error
    if parts.scheme not in SCHEMES:
        raise InvalidOutputError(f"{name}: one of {' '.join(f'{s}://' for s in SCHEMES)}")
    container = container or ("matroska" if parts.scheme in FORMATS else "mpegts")
    if parts.scheme in FORMATS:
        find_ffmpeg(address)
        if container != "matroska":
            raise InvalidOutputError(f"{name}: its format is fixed; leave it out")
        if parts.scheme.startswith("rtmp") and encoding.codec not in (None, "h264"):
            raise InvalidOutputError(f"{name}: codec {encoding.codec!r}: rtmp takes h264")
    if parts.scheme == "udp" and container != "mpegts":
        raise InvalidOutputError(f"{name}: format {container!r}: datagrams carry mpegts only")

    def muxer() -> Muxer:
        return create_muxer(container, video, encoding, tags)

    muxer()  # refuse a wrong encoding before anybody is called
    try:
        listener = _listener(parts, stop)
        if listener is not None:
            report(f"{name}: waiting for a reader")
            return NetworkOutput(
                name,
                listener.accept,
                muxer,
                video,
                report,
                sole_output=sole_output,
                listening=True,
                close=listener.close,
            )
        connect = _connector(address, parts, stop)
        return NetworkOutput(name, connect, muxer, video, report, sole_output=sole_output)
    except InvalidOutputError:
        raise
    except OSError as error:
        raise InvalidOutputError(f"{name}: {(error.strerror or str(error)).lower()}") from error


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
        return lambda: FFmpegTransport(address, stop, TIMEOUT)
    host, port = parts.hostname or "", _port(parts)
    if not host:
        raise InvalidOutputError(f"{redact_url(address)}: names no host")
    if parts.scheme == "udp":
        return lambda: UdpTransport(host, port, stop)
    return lambda: connect_tcp(host, port, stop, TIMEOUT)


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = None
    if not port:
        place = redact_url(parts.geturl())
        raise InvalidOutputError(f"{place}: needs a port, as in {parts.scheme}://host:9000")
    return port


def _path(parts: SplitResult) -> str:
    path = parts.netloc + parts.path
    if not path:
        raise InvalidOutputError("unix://: needs a path, as in unix:///tmp/video.sock")
    return path
