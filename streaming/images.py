"""A folder of PNG pictures, one a frame."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av

from .errors import SinkError, TargetError
from .format import VideoFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.video.codeccontext import VideoCodecContext

    from ..engine.block import Block

_NUMBER = re.compile(r"%(0\d+)?d")


class ImageSink:
    """Writes frame n of the stream to the name that a pattern such as `frames/%06d.png` gives.

    A picture appears under its name only when it is whole. Raises TargetError for a pattern
    without exactly one number, a folder that cannot be written, or pictures that exist, unless
    `overwrite` is set. With `kept`, the pictures of an earlier run go on after so many.
    """

    durable = True

    def __init__(
        self, pattern: str, video: VideoFormat, overwrite: bool = False, kept: int = 0
    ) -> None:
        self.label = pattern
        self.frames = kept
        self._video = video
        self._folder, self._name = Path(pattern).parent, Path(pattern).name
        if len(_NUMBER.findall(self._name)) != 1 or self._name.count("%") != 1:
            raise TargetError(f"{pattern}: needs one frame number in its name, as in %06d.png")
        self._prepare(overwrite or kept > 0)
        if kept and not (self._folder / (self._name % (kept - 1))).exists():
            raise TargetError(f"{pattern}: picture {kept - 1} is not there; it cannot be gone on")

    def write(self, block: Block) -> None:
        """Write the block's pictures."""
        for number, png in zip(
            range(block.start, block.start + len(block.frames)), self._encode(block), strict=True
        ):
            target = self._folder / (self._name % number)
            part = target.with_name(target.name + ".part")
            try:
                part.write_bytes(png)
                os.replace(part, target)
            except OSError as error:
                part.unlink(missing_ok=True)
                raise SinkError(
                    f"{target}: {error.strerror}; {self.frames} pictures are written"
                ) from error
            self.frames += 1

    def close(self) -> None:
        """Nothing is left to do."""

    def _prepare(self, overwrite: bool) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            probe = self._folder / f".{os.getpid()}.part"
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise TargetError(f"{self._folder}: cannot be written: {error.strerror}") from error
        if not overwrite:
            before, after = _NUMBER.split(self._name)[0], _NUMBER.split(self._name)[-1]
            ours = re.compile(re.escape(before) + r"\d+" + re.escape(after))
            for path in self._folder.iterdir():
                if ours.fullmatch(path.name):
                    raise TargetError(f"{path} exists; choose another folder or add --overwrite")

    def _encode(self, block: Block) -> Iterator[bytes]:
        context = cast("VideoCodecContext", av.CodecContext.create("png", "w"))
        context.width, context.height = self._video.width, self._video.height
        context.pix_fmt, context.time_base = "rgb24", Fraction(1)
        context.thread_count = 1
        for number, picture in enumerate(block.frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            yield from map(bytes, context.encode(frame))
        yield from map(bytes, context.encode(None))
