"""The protocols that libavformat speaks in a process of its own: RTMP, HTTP and WHIP."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, unquote, urlsplit

import av

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.streamed import OPTIONS, stream_tags
from sana_stream.streaming.video_format import StreamSpec

from .relay_format import Description

TOKEN_VARIABLE = "SANA_STREAM_WHIP_TOKEN"  # of the environment, for WHIP without one in its URL
_PLAIN = {"bf": "0", "profile": "baseline"}  # what every receiver of WebRTC decodes


@dataclass(frozen=True, slots=True)
class Protocol:
    """How libavformat delivers to addresses of a scheme.

    `idle` is how long a server keeps a connection without any data, in seconds.
    """

    format: str
    codecs: tuple[str, ...] = ("h264",)
    sound: str = "aac"
    idle: float = 8.0


_RTMP, _HTTP = Protocol("flv"), Protocol("mpegts", ("h264", "h265"))
_WHIP = Protocol("whip", sound="libopus", idle=1.0)
PROTOCOLS = {
    **{"rtmp": _RTMP, "rtmps": _RTMP, "http": _HTTP, "https": _HTTP},
    **{"whip": _WHIP, "whips": _WHIP},
}


def protocol_of(parts: SplitResult) -> Protocol | None:
    """The protocol of an address; None for one that is not relayed."""
    if parts.scheme in ("http", "https") and "whip" in parts.query.split("&"):
        return _WHIP
    return PROTOCOLS.get(parts.scheme)


def require_muxer(name: str, protocol: Protocol) -> None:
    """Refuse a protocol whose muxer this PyAV lacks.

    Raises:
        InvalidOutputError: what to install.
    """
    if protocol.format in av.formats_available:
        return
    other = ""
    if _ffmpeg_has(protocol.format):
        other = f", or pipe into the installed ffmpeg: --out - | ffmpeg -i - -f {protocol.format}"
    raise InvalidOutputError(
        f"{name}: this PyAV ({av.__version__}) has no muxer {protocol.format!r}: install a newer"
        f" one (pip install -U av){other}"
    )


def _ffmpeg_has(muxer: str) -> bool:
    path = shutil.which("ffmpeg")
    if path is None:
        return False
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run([path, "-v", "quiet", "-muxers"], capture_output=True, timeout=10)
        return any(line.split()[1:2] == [muxer.encode()] for line in listed.stdout.splitlines())
    return False


def describe(address: str, protocol: Protocol, spec: StreamSpec) -> Description:
    """What the child process needs to know; `spec` has its codec."""
    options = {"flush_packets": "1"} | OPTIONS.get(protocol.format, {})
    extra: dict[str, str] = {}
    if protocol is _WHIP:
        address, token = _whip_address(address)
        options, extra = ({"authorization": token} if token else {}), _PLAIN
    return Description(
        address,
        protocol.format,
        options,
        stream_tags(protocol.format, spec.metadata),
        replace(spec, audio=None),
        None if spec.audio is None else protocol.sound,
        extra,
    )


def _whip_address(address: str) -> tuple[str, str]:
    """The HTTP address of a WHIP endpoint, and the bearer token that it is given."""
    parts = urlsplit(address)
    scheme = {"whip": "http", "whips": "https"}.get(parts.scheme, parts.scheme)
    user, _, host = parts.netloc.rpartition("@")
    query = "&".join(part for part in parts.query.split("&") if part != "whip")
    token = unquote(user) or os.environ.get(TOKEN_VARIABLE, "")
    return parts._replace(scheme=scheme, netloc=host, query=query).geturl(), token
