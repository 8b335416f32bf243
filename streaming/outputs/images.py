"""A folder of PNG pictures, one a frame."""

from __future__ import annotations

import contextlib
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av

from sana_stream._files import open_partial, partial_path
from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.run_id import mark_png
from sana_stream.streaming.video_format import VideoFormat

from .existing_files import check_new, check_own, make_folder
from .locks import OutputLocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.video.codeccontext import VideoCodecContext

    from sana_stream.engine.block import Block

_NUMBER = re.compile(r"%(0\d{1,2})?d")


def is_image_pattern(output: str) -> bool:
    """Whether an output is a row of pictures: a PNG name with one number in it (`%06d.png`)."""
    return output.lower().endswith(".png") and "://" not in output


class ImageSequenceOutput:
    """Writes frame n of the stream to the name that a pattern such as `frames/%06d.png` gives.

    A picture appears under its name only when it is whole. The folder is made and locked at once;
    pictures are written from the first block on. Raises InvalidOutputError for a pattern without
    exactly one number, a folder that cannot be written, or pictures that exist, unless `overwrite`
    is set. With `kept`, the pictures of an earlier run continue after so many: those bear the id
    `run`.
    """

    durable = True

    def __init__(
        self,
        pattern: str,
        video: VideoFormat,
        overwrite: bool = False,
        resume_frames: int = 0,
        *,
        run: str | None = None,
        locks: OutputLocks | None = None,
    ) -> None:
        self.name = safe_text(pattern)
        self.frames = resume_frames
        self._video = video
        self._run = run
        self._path = Path(pattern)
        self._folder, self._name = self._path.parent, self._path.name
        if len(_NUMBER.findall(self._name)) != 1 or self._name.count("%") != 1:
            raise InvalidOutputError(
                f"{self.name}: needs one frame number in its name, as in %06d.png"
            )
        self._closed = False
        self._locks = locks or OutputLocks()
        self._made_folder = make_folder(self._folder)
        try:
            self._locks.acquire(self._path)
            self._check(overwrite, resume_frames)
        except BaseException:
            self.close()
            raise

    def write(self, block: Block) -> None:
        """Write the block's pictures."""
        for number, png in zip(
            range(block.start, block.start + len(block.frames)), self._encode(block), strict=True
        ):
            target = self._folder / (self._name % number)
            part = partial_path(target)
            try:
                with open_partial(target) as file:
                    file.write(png if self._run is None else mark_png(png, self._run))
                os.replace(part, target)
            except OSError as error:
                part.unlink(missing_ok=True)
                raise OutputError(
                    f"{safe_text(target)}: {error.strerror}; {self.frames} pictures are written"
                ) from error
            self.frames += 1

    def close(self) -> None:
        """Give the folder free; one that was made for no picture is removed."""
        if self._closed:
            return
        self._closed = True
        self._locks.release(self._path)
        if self._made_folder and not self.frames:
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def _check(self, overwrite: bool, kept: int) -> None:
        old = self._old_pictures()
        if kept:
            check_own(self._folder / (self._name % (kept - 1)), self._run)
            for number, path in old.items():
                if number >= kept:
                    check_own(path, self._run)
            return
        for path in old.values():
            if not overwrite:
                raise InvalidOutputError(
                    f"{safe_text(path)} exists; choose another folder or add --overwrite"
                )
            check_new(path, overwrite)

    def _old_pictures(self) -> dict[int, Path]:
        """Pictures of such names, by their numbers."""
        before, after = _NUMBER.split(self._name)[0], _NUMBER.split(self._name)[-1]
        ours = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        found = ((ours.fullmatch(path.name), path) for path in self._folder.iterdir())
        return {int(match[1]): path for match, path in found if match and len(match[1]) < 19}

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
