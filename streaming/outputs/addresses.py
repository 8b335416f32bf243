"""Opening the network output that a URL names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Event
from urllib.parse import SplitResult, urlsplit

from sana_stream._text import os_reason
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.registry import CONTAINERS, create_muxer
from sana_stream.streaming.containers.streamed import provider
from sana_stream.streaming.video_format import StreamSpec

from .base import redact_url
from .ffmpeg_transport import FORMATS, FFmpegTransport, find_ffmpeg
from .network import NetworkOutput
from .options import OutputOptions
from .relay import RelayConnector
from .relay_muxer import RelayMuxer
from .relay_protocols import PROTOCOLS, Protocol, describe, protocol_of, require_muxer
from .sockets import Listener, UdpTransport, connect_tcp, connect_unix
from .transports import Transport

TIMEOUT = 10.0  # seconds without progress after which a reader is lost
SCHEMES = ("tcp", "unix", "udp", *PROTOCOLS, *FORMATS)

logger = logging.getLogger(__name__)


def open_address(
    address: str, spec: StreamSpec, options: OutputOptions, stop: Event
) -> NetworkOutput:
    """Connect to the address that a URL names, or listen on it.

    `tcp://host:port` and `unix:///path` connect; with `?listen` appended they wait for a reader.
    `udp://host:port` sends datagrams. `rtmp`, `http` and `whip` go through a process of their own,
    `srt` and `rist` through ffmpeg.

    Raises:
        InvalidOutputError: the URL or an option is wrong, or the connection is refused.
    """
    try:
        parts, name = urlsplit(address), redact_url(address)
    except ValueError as error:
        raise InvalidOutputError(f"this is no address: {os_reason(error)}") from error
    protocol = protocol_of(parts)
    if protocol is None and parts.scheme not in SCHEMES:
        raise InvalidOutputError(f"{name}: use one of {' '.join(f'{s}://' for s in SCHEMES)}")
    try:
        if protocol is not None:
            return _open_relay(address, name, protocol, spec, options, stop)
        return _open_socket(address, parts, name, spec, options, stop)
    except InvalidOutputError:
        raise
    except OSError as error:
        raise InvalidOutputError(f"{name}: {os_reason(error)}") from error


def _open_relay(
    address: str,
    name: str,
    protocol: Protocol,
    spec: StreamSpec,
    options: OutputOptions,
    stop: Event,
) -> NetworkOutput:
    scheme = address.partition(":")[0]
    require_muxer(name, protocol)
    _check_container(name, scheme, options, spec, protocol.codecs)
    if not urlsplit(address).hostname:
        raise InvalidOutputError(f"{name}: has no host; write {scheme}://host/path")
    encoder = replace(spec.encoder, codec=spec.encoder.codec or protocol.codecs[0])
    spec = replace(spec, encoder=encoder)
    described = describe(address, protocol, spec)
    muxer = partial(RelayMuxer, described, spec)
    muxer()  # refuses wrong encoder settings before anything is connected
    connect = RelayConnector(described, protocol.idle, stop, TIMEOUT)
    return NetworkOutput(
        *(name, connect, muxer, spec.video),
        sole_output=options.sole_output,
        close=connect.close,
    )


def _open_socket(
    address: str,
    parts: SplitResult,
    name: str,
    spec: StreamSpec,
    options: OutputOptions,
    stop: Event,
) -> NetworkOutput:
    """An output on a socket of this process, or through ffmpeg."""
    container = options.container or ("matroska" if parts.scheme in FORMATS else "mpegts")
    if parts.scheme in FORMATS:
        find_ffmpeg(parts.scheme)
        codecs = CONTAINERS[FORMATS[parts.scheme]].codecs
        _check_container(name, parts.scheme, options, spec, codecs)
        spec = replace(spec, encoder=replace(spec.encoder, codec=spec.encoder.codec or codecs[0]))
    if parts.scheme == "udp" and container != "mpegts":
        raise InvalidOutputError(f"{name}: container {container!r}: udp takes mpegts")
    muxer = partial(create_muxer, container, spec)
    muxer()  # refuses wrong encoder settings before anything is connected
    open_network = partial(
        NetworkOutput, name, create_muxer=muxer, video=spec.video, sole_output=options.sole_output
    )
    listener = _listener(parts, stop)
    if listener is None:
        return open_network(_connector(address, parts, stop, provider(spec.metadata)))
    logger.info("%s: waiting for a reader", name)
    return open_network(listener.accept, listening=True, close=listener.close)


def _check_container(
    name: str, scheme: str, options: OutputOptions, spec: StreamSpec, codecs: tuple[str, ...]
) -> None:
    """Refuse a container for a protocol that has one of its own, and codecs that it lacks."""
    if options.container is not None:
        raise InvalidOutputError(
            f"{name}: container {options.container!r}: {scheme} has a container of its own;"
            " leave container out"
        )
    codec = spec.encoder.codec
    if codec is not None and codec not in codecs:
        raise InvalidOutputError(f"{name}: codec {codec!r}: {scheme} takes {', '.join(codecs)}")


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
