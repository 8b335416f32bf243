"""A folder of PNG pictures, one for each frame."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av

from sana_stream._files import atomic_write
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.run_id import mark_png
from sana_stream.streaming.video_format import StreamSpec

from .existing_files import check_new, check_own, make_folder
from .locks import OutputLocks
from .options import OutputOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.video.codeccontext import VideoCodecContext

    from sana_stream.engine.block import Block

_NUMBER = re.compile(r"%(0\d{1,2})?d")


class ImageSequenceOutput:
    """Writes each frame of the stream to the file that a pattern such as `frames/%06d.png` names.

    A picture gets its name only when it is complete. The folder is created and locked at once;
    pictures are written from the first block on. The pictures of an earlier run that is resumed
    have the id `spec.metadata.run`.

    Raises:
        InvalidOutputError: the pattern does not have exactly one number, the folder cannot be
            written, or pictures exist without `options.overwrite`.
    """

    durable = True

    def __init__(
        self,
        pattern: str,
        spec: StreamSpec,
        options: OutputOptions,
        locks: OutputLocks | None = None,
    ) -> None:
        self.name = safe_text(pattern)
        self.frames = options.resume_frames
        self._video = spec.video
        self._metadata = spec.metadata
        self._run = spec.metadata.run
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
            self._check(options.overwrite, options.resume_frames)
        except BaseException:
            self.close()
            raise

    def write(self, block: Block) -> None:
        """Write the block's pictures."""
        mark = self._metadata.ai_mark(block.prompt)
        xmp = None if mark is None else mark.xmp()
        for number, png in zip(
            range(block.start, block.start + len(block.frames)), self._encode(block), strict=True
        ):
            target = self._folder / (self._name % number)
            data = mark_png(png, self._run, xmp)
            try:
                # a checkpoint waits for the disk before it counts them
                atomic_write(target, data, sync=False)
            except OSError as error:
                raise OutputError(
                    f"{safe_text(target)}: {os_reason(error)}; {self.frames} pictures are written"
                ) from error
            self.frames += 1

    def close(self) -> None:
        """Unlock the folder; one that was created and has no picture is removed."""
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
                    f"{safe_text(path)} exists; choose another folder or set overwrite=True"
                )
            check_new(path, overwrite)

    def _old_pictures(self) -> dict[int, Path]:
        """The existing pictures of the sequence, by number."""
        before, after = _NUMBER.split(self._name)[0], _NUMBER.split(self._name)[-1]
        pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        found = ((pattern.fullmatch(path.name), path) for path in self._folder.iterdir())
        return {int(match[1]): path for match, path in found if match and len(match[1]) < 19}

    def _encode(self, block: Block) -> Iterator[bytes]:
        context = cast("VideoCodecContext", av.CodecContext.create("png", "w"))
        context.width, context.height = self._video.width, self._video.height
        context.pix_fmt, context.time_base = "rgb24", Fraction(1)
        context.thread_count = 1
        for number, rgb in enumerate(block.frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number
            yield from map(bytes, context.encode(frame))
        yield from map(bytes, context.encode(None))
