"""Opening the network output that a URL names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from threading import Event
from urllib.parse import SplitResult, urlsplit

from sana_stream._text import os_reason
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.mpegts import provider
from sana_stream.streaming.containers.registry import create_muxer
from sana_stream.streaming.video_format import StreamSpec

from .base import redact_url
from .ffmpeg_transport import FORMATS, FFmpegTransport, find_ffmpeg
from .network import NetworkOutput
from .options import OutputOptions
from .sockets import Listener, UdpTransport, connect_tcp, connect_unix
from .transports import Transport

TIMEOUT = 10.0  # seconds without progress after which a reader is lost
SCHEMES = ("tcp", "unix", "udp", *FORMATS)

logger = logging.getLogger(__name__)


def open_address(
    address: str, spec: StreamSpec, options: OutputOptions, stop: Event
) -> NetworkOutput:
    """Connect to the address that a URL names, or listen on it.

    `tcp://host:port` and `unix:///path` connect; with `?listen` appended they wait for a reader.
    `udp://host:port` sends datagrams. The other schemes go through ffmpeg.

    Raises:
        InvalidOutputError: the URL or an option is wrong, or the connection is refused.
    """
    try:
        parts, name = urlsplit(address), redact_url(address)
    except ValueError as error:
        raise InvalidOutputError(f"this is no address: {os_reason(error)}") from error
    container = _choose_container(parts.scheme, name, spec, options)
    muxer = partial(create_muxer, container, spec)
    muxer()  # refuses wrong encoder settings before anything is connected
    open_network = partial(
        NetworkOutput, name, create_muxer=muxer, video=spec.video, sole_output=options.sole_output
    )
    try:
        listener = _listener(parts, stop)
        if listener is None:
            return open_network(_connector(address, parts, stop, provider(spec.metadata)))
        logger.info("%s: waiting for a reader", name)
        return open_network(listener.accept, listening=True, close=listener.close)
    except InvalidOutputError:
        raise
    except OSError as error:
        raise InvalidOutputError(f"{name}: {os_reason(error)}") from error


def _choose_container(scheme: str, name: str, spec: StreamSpec, options: OutputOptions) -> str:
    if scheme not in SCHEMES:
        raise InvalidOutputError(f"{name}: use one of {' '.join(f'{s}://' for s in SCHEMES)}")
    container = options.container or ("matroska" if scheme in FORMATS else "mpegts")
    if scheme in FORMATS:
        find_ffmpeg(scheme)
        if container != "matroska":
            raise InvalidOutputError(
                f"{name}: container {container!r}: {scheme} has a container of its own;"
                " leave container out"
            )
        codec = spec.encoder.codec
        if scheme.startswith("rtmp") and codec not in (None, "h264"):
            raise InvalidOutputError(f"{name}: codec {codec!r}: {scheme} takes h264")
    if scheme == "udp" and container != "mpegts":
        raise InvalidOutputError(f"{name}: container {container!r}: udp takes mpegts")
    return container


def _listener(parts: SplitResult, stop: Event) -> Listener | None:
    if parts.query not in ("listen", "listen=1") or parts.scheme not in ("tcp", "unix"):
        return None
    if parts.scheme == "unix":
        return Listener.unix(_path(parts), stop, TIMEOUT)
    return Listener.tcp(parts.hostname or "", _port(parts), stop, TIMEOUT)


def _connector(
    address: str, parts: SplitResult, stop: Event, provider: str
) -> Callable[[], Transport]:
    if parts.scheme == "unix":
        return partial(connect_unix, _path(parts), stop, TIMEOUT)
    if parts.scheme in FORMATS:
        return partial(FFmpegTransport, address, stop, TIMEOUT, provider)
    host, port = parts.hostname or "", _port(parts)
    if not host:
        raise InvalidOutputError(
            f"{redact_url(address)}: has no host; write {parts.scheme}://host:{port}"
        )
    if parts.scheme == "udp":
        return partial(UdpTransport, host, port, stop)
    return partial(connect_tcp, host, port, stop, TIMEOUT)


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
