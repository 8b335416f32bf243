"""A video file that is playable after every block, and the captions next to it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.ai_mark import DIGITAL_SOURCE_TYPE
from sana_stream.streaming.containers.registry import BY_SUFFIX, create_muxer
from sana_stream.streaming.containers.run_id import has_sound
from sana_stream.streaming.containers.truncate import find_cut, truncate_to_frames
from sana_stream.streaming.video_format import StreamSpec

from .captions import CaptionFile
from .existing_files import check_companion, check_new, check_own
from .locks import OutputLocks
from .options import OutputOptions
from .signing import is_signed, load_signer, remove_signature
from .unbuffered_file import UnbufferedFile, open_untouched

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


class FileOutput:
    """Writes a stream to one file: after each block, everything so far is in it and plays.

    Everything is checked at once and the file is locked; it is opened for writing when the first
    block comes. A resumed file must have the id `spec.metadata.run`; what it has beyond
    `options.resume_frames` frames is cut off with the first new block.

    Raises:
        InvalidOutputError: the folder does not exist or cannot be written, another run writes the
            file, or it exists without `options.overwrite`.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        spec: StreamSpec,
        options: OutputOptions,
        locks: OutputLocks | None = None,
    ) -> None:
        self.name = safe_text(path)
        self.frames = options.resume_frames
        self._path = path
        self._captions_path = options.captions or path.with_suffix(".vtt")
        self._container = BY_SUFFIX[path.suffix.lower()]
        self._muxer = create_muxer(self._container, spec)
        self._header = self._muxer.header()
        self._video = spec.video
        self._run = spec.metadata.run
        self._has_sound = spec.audio is not None
        self._source_type = DIGITAL_SOURCE_TYPE if spec.metadata.mark else None
        self._options = options
        self._metadata = spec.metadata
        self._signer = None if options.sign is None else load_signer(options.sign)
        self._file: UnbufferedFile | None = None
        self._end = 0
        self._closed = False
        self._locks = locks or OutputLocks()
        self._locks.acquire(path)
        try:
            self._check()
        except BaseException:
            self._locks.release(path)
            raise

    def write(self, block: Block) -> None:
        """Append one block with a single write."""
        data = self._muxer.add(block)
        if self._file is None:
            self._begin()
        file = self._file
        assert file is not None
        try:
            self._require_file(file)
            file.write(data)
            self._caption(block)
            self._end = file.tell()
            self.frames += len(block.frames)
        except FileNotFoundError as error:
            raise OutputError(
                f"{self.name}: it was moved or removed while it was being made, with"
                f" {self._amount()} in it; put it back to resume it"
            ) from error
        except OSError as error:
            self._drop_torn_block(file)
            raise OutputError(f"{self.name}: {os_reason(error)}; {self._playable()}") from error

    def close(self) -> None:
        """Complete the file; one without a single frame is removed."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._file is None and self._lacks_only_its_end():
                self._begin()
            if self._file is not None:
                self._finish(self._file)
                self._sign()
        finally:
            self._locks.release(self._path)

    def _check(self) -> None:
        if not self._options.resume_frames:
            check_new(self._path, self._options.overwrite)
            check_companion(self._captions_path, self._options.overwrite)
            return
        check_own(self._path, self._run)
        if self._captions_path.exists():
            check_own(self._captions_path, self._run)
        try:
            with self._path.open("rb") as file:
                find_cut(file, self._container, self._options.resume_frames)
            if (found := has_sound(self._path)) != self._has_sound:
                what = "it has sound and is continued without" if found else "it has no sound"
                raise ValueError(what)
        except (OSError, ValueError) as error:
            raise InvalidOutputError(
                f"{self.name}: cannot be resumed: {os_reason(error)}"
            ) from error

    def _begin(self) -> None:
        """Open the files for writing; an old video changes only once both are open."""
        kept = self._options.resume_frames
        try:
            if kept:
                remove_signature(self._path)
            file, created = open_untouched(self._path, bool(kept) or self._options.overwrite)
        except OSError as error:
            raise self._not_writable(self.name, error) from error
        try:
            self._captions = self._open_captions()
        except BaseException:
            file.close()
            if created:
                self._path.unlink(missing_ok=True)
            raise
        try:
            if kept:
                truncate_to_frames(file, self._container, kept)
            else:
                file.truncate(0)
                file.write(self._header)
        except (OSError, ValueError) as error:
            file.close()
            self._captions.close()
            if not kept:
                self._remove_files()
            raise self._not_writable(self.name, error) from error
        self._file, self._end = file, file.tell()

    def _open_captions(self) -> CaptionFile:
        end = self._options.resume_frames * self._video.frame_time
        try:
            overwrite = self._options.overwrite
            return CaptionFile(self._captions_path, overwrite, end, self._run, self._source_type)
        except (OSError, ValueError) as error:
            raise self._not_writable(safe_text(self._captions_path), error) from error

    def _not_writable(self, name: str, error: Exception) -> OutputError:
        return OutputError(f"{name}: cannot be written: {os_reason(error)}")

    def _lacks_only_its_end(self) -> bool:
        """Whether the file of an earlier run is complete but for its end: no block was left."""
        if not self._options.resume_frames or is_signed(self._path):
            return False
        try:
            with self._path.open("rb") as file:
                return find_cut(file, self._container, self._options.resume_frames).last
        except (OSError, ValueError):
            return False

    def _finish(self, file: UnbufferedFile) -> None:
        try:
            if self.frames:
                chapters = self._captions.chapters(self._video.frame_time)
                self._muxer.finish(file, chapters)
        except OSError as error:
            self._drop_torn_block(file)
            raise OutputError(
                f"{self.name}: {os_reason(error)}, so it has no index; {self._playable()}"
            ) from error
        finally:
            file.close()
            self._captions.close()
            if not self.frames:
                self._remove_files()

    def _sign(self) -> None:
        if self._signer is None or not self.frames:
            return
        try:
            self._signer.sign_file(self._path, self._metadata)
        except OSError as error:
            raise OutputError(
                f"{self.name}: {os_reason(error)}; it is complete but not signed"
            ) from error

    def _remove_files(self) -> None:
        self._path.unlink(missing_ok=True)
        self._captions_path.unlink(missing_ok=True)

    def _caption(self, block: Block) -> None:
        time = self._video.frame_time
        end = block.start + len(block.frames)
        self._captions.show(block.prompt, block.start * time, end * time)

    def _require_file(self, file: UnbufferedFile) -> None:
        """Notice that the file was removed: further writes would be lost without an error."""
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
            raise FileNotFoundError(2, "another file has taken its place")

    def _drop_torn_block(self, file: UnbufferedFile) -> None:
        with contextlib.suppress(OSError):  # a torn block at the end harms no reader
            file.seek(self._end)
            file.truncate()

    def _playable(self) -> str:
        return f"{self._amount()} are in it and play"

    def _amount(self) -> str:
        return f"{self.frames} frames ({self._video.seconds(self.frames):.1f} s)"
