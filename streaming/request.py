"""What a caller asks of an output, looked at before anything is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event

from sana_stream._arguments import shown

from .arguments import ARGUMENTS
from .errors import TargetError
from .format import Encoding, Tags, VideoFormat

MOST_BLOCKS = 10**9
LONGEST_SEGMENT = 1e9  # seconds


def check_request(
    target: object,
    video: object,
    encoding: object,
    tags: object,
    *,
    container: object,
    overwrite: object,
    alone: object,
    kept: object,
    segment_seconds: object,
    window: object,
    stop: object,
    stdout: object,
    report: object,
) -> str:
    """The target as text.

    Raises:
        TargetError: an argument of `open_sink` of the wrong kind or out of its range.
    """
    for name, value, kind in (
        ("video", video, VideoFormat),
        ("encoding", encoding, Encoding),
        ("tags", tags, Tags),
        ("stop", stop, Event),
    ):
        if not isinstance(value, kind):
            raise TargetError(f"{name} {shown(value)}: give a {kind.__name__}")
    if not isinstance(report, Callable):
        raise TargetError(f"report {shown(report)}: give a function that takes a line")
    if container is not None:
        ARGUMENTS.word("container", container)
    ARGUMENTS.flag("overwrite", overwrite)
    ARGUMENTS.flag("alone", alone)
    ARGUMENTS.whole("kept", kept, 0)
    if segment_seconds is not None:
        ARGUMENTS.number("segment_seconds", segment_seconds, most=LONGEST_SEGMENT)
    if window is not None:
        ARGUMENTS.whole("window", window, most=MOST_BLOCKS)
    if stdout is not None:
        ARGUMENTS.whole("stdout", stdout, 0)
    return _target(target)


def _target(target: object) -> str:
    if not isinstance(target, str | os.PathLike):
        raise TargetError(f"target {shown(target)}: give a path, - or an address")
    text = os.fspath(target)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise TargetError(f"target {shown(text)}: give a path, - or an address")
    if "://" not in text and Path(text).name == "":
        raise TargetError(f"target {shown(text)} is a folder: give the name of a file in it")
    return text
