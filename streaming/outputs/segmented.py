"""A video as a sequence of files of equal length."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.probe import count_frames, open_video
from sana_stream.streaming.video_format import StreamSpec

from .existing_files import check_companion, check_own
from .file import FileOutput
from .locks import OutputLocks
from .options import OutputOptions

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


class SegmentedOutput:
    """Writes `name-0001.mp4`, `name-0002.mp4`, …: a new file at the first block after `seconds`.

    Times in each file begin at zero. Files of an earlier run that is resumed have the id
    `spec.metadata.run`; `options.resume_frames` counts the frames of all of them. Files of the
    sequence that are not kept are removed when the first block comes.

    Raises:
        InvalidOutputError: files of such names exist, unless `options.overwrite` is set and this
            program has written them.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        spec: StreamSpec,
        options: OutputOptions,
        seconds: float,
        locks: OutputLocks | None = None,
    ) -> None:
        self.name = safe_text(path.with_stem(path.stem + "-*"))
        self._path = path
        self._seconds = seconds
        self._spec = spec
        self._sign = options.sign
        self._video = spec.video
        self._number = 1
        self._before = 0  # frames in files that are complete
        self._surplus: list[Path] = []  # files that are removed when the first block comes
        self._closed = False
        self._locks = locks or OutputLocks()
        self._locks.acquire(path)
        try:
            self._check(options.overwrite, options.resume_frames, spec.metadata.run)
            self._file = self._open_file(
                *(self._number, self._before),
                options.resume_frames - self._before,
                options.overwrite,
            )
        except BaseException:
            self._locks.release(path)
            raise

    @property
    def frames(self) -> int:
        """Frames in all files together."""
        return self._before + self._file.frames

    def write(self, block: Block) -> None:
        """Append a block, to a new file when the current one has its length."""
        while self._surplus:
            old = self._surplus.pop()
            old.unlink(missing_ok=True)
            old.with_suffix(".vtt").unlink(missing_ok=True)
        if self._video.seconds(self._file.frames) >= self._seconds:
            self._file.close()
            following = self._open_next()  # before the counters change, because it may fail
            self._before += self._file.frames
            self._number += 1
            self._file = following
        self._file.write(replace(block, start=self._file.frames))

    def close(self) -> None:
        """Complete the current file."""
        if self._closed:
            return
        self._closed = True
        try:
            self._file.close()
        finally:
            self._locks.release(self._path)

    def _open_file(
        self, number: int, start: int, kept: int = 0, overwrite: bool = False
    ) -> FileOutput:
        """Open a file that begins at frame `start`."""
        spec = self._spec
        if spec.audio is not None:
            spec = replace(spec, audio=spec.audio.after(start * spec.video.frame_time))
        options = OutputOptions(overwrite=overwrite, resume_frames=kept, sign=self._sign)
        return FileOutput(self._segment_path(number), spec, options, self._locks)

    def _open_next(self) -> FileOutput:
        """The next file; in mid-stream, one that cannot be opened is a failure of the output."""
        try:
            return self._open_file(self._number + 1, self.frames)
        except InvalidOutputError as error:
            seconds = self._video.seconds(self.frames)
            raise OutputError(
                f"{error}; {self.frames} frames ({seconds:.1f} s) are kept"
            ) from error

    def _segment_path(self, number: int) -> Path:
        return self._path.with_stem(f"{self._path.stem}-{number:04}")

    def _check(self, overwrite: bool, kept: int, run: str | None) -> None:
        """Check the existing files: which are kept, which are removed, which forbid a run."""
        old = self._old_files()
        for path in old.values():
            captions = path.with_suffix(".vtt")
            for file in (path, captions) if captions.exists() else (path,):
                if kept:
                    check_own(file, run)
                else:
                    check_companion(file, overwrite)
        if kept:
            self._skip_complete_files(kept)
        self._surplus = [path for number, path in old.items() if number > self._number]

    def _skip_complete_files(self, kept: int) -> None:
        """Skip to the file that has the last frame to keep."""
        while self._segment_path(self._number + 1).exists():
            with self._segment_path(self._number).open("rb") as file, open_video(file) as opened:
                frames = count_frames(opened)
            if self._before + frames >= kept:
                return
            self._before += frames
            self._number += 1

    def _old_files(self) -> dict[int, Path]:
        """The existing files of the sequence, by number."""
        pattern = re.compile(
            re.escape(self._path.stem) + r"-(\d{4,})" + re.escape(self._path.suffix), re.IGNORECASE
        )
        if not self._path.parent.is_dir():
            return {}
        found = ((pattern.fullmatch(path.name), path) for path in self._path.parent.iterdir())
        return dict(sorted((int(match[1]), path) for match, path in found if match))
