"""HTTP Live Streaming: a playlist and one fragment a block, to be served by any web server."""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._files import PARTIAL, open_partial, partial_path
from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.mp4 import Mp4Fragmenter
from sana_stream.streaming.containers.run_id import read_run
from sana_stream.streaming.video_format import EncoderSettings, Metadata, VideoFormat

from .existing_files import check_new, check_own, make_folder
from .hls_playlist import INIT, Playlist, Segment, playlist_entry, playlist_text, read_playlist
from .locks import OutputLocks

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_NAMES = r"(init\.mp4|segment\d{6,}\.m4s)"
_OURS = re.compile(rf"{_NAMES}|\.{_NAMES}{re.escape(PARTIAL)}")


class HlsOutput:
    """Writes `live.m3u8`, `init.mp4` and `segment000000.m4s`, … into one folder.

    Without `window` the playlist keeps every block and only grows; with it, the playlist names
    the last so many blocks and older segments are removed. The folder is made and locked at once;
    files change when the first block comes. Raises InvalidOutputError for a folder that cannot be
    written or holds a stream already, unless `overwrite` is set and the stream is one of this
    program.

    With `kept`, the playlist of an earlier run, which bears the same id, continues after so many
    frames. One with a window has been watched further than that: what it names stays, and blocks
    that it has are not written again, so that for its viewers the stream has only been slow.
    """

    durable = True

    def __init__(
        self,
        playlist: Path,
        video: VideoFormat,
        encoding: EncoderSettings,
        tags: Metadata,
        *,
        window: int | None = None,
        overwrite: bool = False,
        resume_frames: int = 0,
        locks: OutputLocks | None = None,
    ) -> None:
        if window is not None and window < 3:
            raise InvalidOutputError(f"a window of {window} blocks: players need at least 3")
        self.name = safe_text(playlist)
        self.frames = resume_frames
        self._playlist = playlist
        self._video = video
        self._window = window
        self._longest = 0.0
        self._next = 0  # number of the next segment
        self._end = resume_frames  # the frame after the last segment
        self._jumps = 0  # segments behind a jump in time that have left the window
        self._recent: deque[Segment] = deque(maxlen=window or 1)
        self._kept = resume_frames
        self._run = tags.run
        self._begun = self._closed = False
        self._fragments = Mp4Fragmenter(video, encoding, tags)
        self._locks = locks or OutputLocks()
        self._made_folder = make_folder(playlist.parent)
        try:
            self._locks.acquire(playlist)
            self._locks.acquire(playlist.parent / INIT)  # another playlist has the same segments
            self._resumed = resume_frames > 0 and (window is None or playlist.exists())
            self._stay = self._check(overwrite)
        except BaseException:
            self._release()
            raise

    def write(self, block: Block) -> None:
        """Add one segment: the file first, then its line in the playlist."""
        if not self._begun:
            self._begin()
        end = block.start + len(block.frames)
        if end > self._end:
            jump = self._next > 0 and block.start != self._end
            name = f"segment{self._next:06}.m4s"
            try:
                self._put(name, self._fragments.fragment(block))
                self._announce(Segment(self._video.seconds(len(block.frames)), name, jump))
            except OSError as error:
                raise OutputError(
                    f"{self.name}: {(error.strerror or str(error)).lower()}; {self.frames} frames "
                    f"({self._video.seconds(self.frames):.1f} s) can be played"
                ) from error
            self._next += 1
            self._end = end
        self.frames += len(block.frames)

    def close(self) -> None:
        """Tell players that no more comes; of a stream without a block nothing is left."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._begun and not self._next:
                (self._playlist.parent / INIT).unlink(missing_ok=True)
            elif self._begun or (self._resumed and self._is_whole()):
                self._append("#EXT-X-ENDLIST\n")
        except OSError as error:
            raise OutputError(f"{self.name}: has no end: {error.strerror}") from error
        finally:
            self._release()

    def _announce(self, segment: Segment) -> None:
        leaving = self._recent[0] if self._window and len(self._recent) == self._window else None
        self._longest = max(self._longest, segment.seconds)
        self._recent.append(segment)
        if self._window is None and self._next:
            self._append(playlist_entry(segment.seconds, segment.name, segment.discontinuity))
            return
        if leaving is not None:
            self._jumps += leaving.discontinuity
        first = self._next - len(self._recent) + 1
        self._put_playlist(Playlist(self._longest, first, self._jumps, tuple(self._recent)))
        if leaving is not None:
            (self._playlist.parent / leaving.name).unlink(missing_ok=True)

    def _check(self, overwrite: bool) -> Playlist | None:
        """What of a playlist that is there is to stay; the files are only read."""
        old = list(self._old_files())
        if not self._resumed:
            for path in old:
                if not overwrite and not self._kept:
                    raise InvalidOutputError(
                        f"{safe_text(path)} exists; choose another folder or add --overwrite"
                    )
            if not self._kept:
                check_new(self._playlist, overwrite)
            self._check_ours(old)
            return None
        check_own(self._playlist, self._run)
        self._check_ours(old)
        try:
            playlist = read_playlist(self._playlist.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidOutputError(f"{self.name}: cannot be resumed: it is damaged") from error
        whole = self._window is not None
        stay = self._whole_ones(playlist) if whole else self._first_frames(playlist, self._kept)
        return replace(playlist, segments=stay)

    def _check_ours(self, old: list[Path]) -> None:
        """Refuse files with the names of ours beside a stream that is not ours."""
        segments = [path for path in old if path.suffix == ".m4s" or path.name == INIT]
        run = read_run(self._playlist.parent / INIT)
        ours = run == self._run if self._kept else run is not None
        if segments and not ours:
            raise InvalidOutputError(
                f"{safe_text(segments[0])} exists and is of another stream, so it is neither"
                " replaced nor removed: move it or choose another folder"
            )
        if segments and (other := self._other_playlist(run)) is not None:
            raise InvalidOutputError(
                f"{safe_text(segments[0])} exists and belongs to {safe_text(other)}: choose another"
                " folder"
            )

    def _other_playlist(self, run: str | None) -> Path | None:
        """A playlist beside ours to which the segments belong, where they are not ours."""
        if self._playlist.exists() and read_run(self._playlist) == run:
            return None
        beside = sorted(self._playlist.parent.glob("*.m3u8"))
        others = (path for path in beside if path != self._playlist and read_run(path) == run)
        return next(others, None)

    def _begin(self) -> None:
        """Bring the folder to where the first block follows."""
        names: set[str] = set()
        try:
            if self._stay is not None:
                stay = self._stay
                self._next = stay.media_sequence + len(stay.segments)
                self._jumps, self._longest = stay.discontinuity_sequence, stay.target_duration
                self._recent.extend(stay.segments)
                self._put_playlist(stay)
                names = {segment.name for segment in stay.segments}
            for path in list(self._old_files()):
                if path.name not in names and not (self._stay and path == self._playlist):
                    path.unlink()
            self._put(INIT, self._fragments.init)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"{self.name}: cannot be written: {reason}") from error
        self._begun = True

    def _is_whole(self) -> bool:
        """Whether the playlist of an earlier run only lacks its end."""
        text = self._playlist.read_text(encoding="utf-8")
        stay = self._stay
        same = stay is not None and read_playlist(text).segments == stay.segments
        return same and "#EXT-X-ENDLIST" not in text

    def _release(self) -> None:
        self._locks.release(self._playlist)
        self._locks.release(self._playlist.parent / INIT)
        if self._made_folder and not self._next:
            with contextlib.suppress(OSError):
                self._playlist.parent.rmdir()

    def _first_frames(self, old: Playlist, kept: int) -> tuple[Segment, ...]:
        """The segments of the first frames."""
        frames = 0
        for number, segment in enumerate(old.segments):
            if frames == kept:
                return old.segments[:number]
            frames += round(segment.seconds / self._video.frame_time)
        if frames == kept:
            return old.segments
        raise InvalidOutputError(
            f"{self.name}: cannot be resumed: no segment in it ends after {kept} frames"
        )

    def _whole_ones(self, old: Playlist) -> tuple[Segment, ...]:
        """The segments without those at the end that are not whole: a power cut may leave some."""
        for count in range(len(old.segments), 0, -1):
            file = self._playlist.parent / old.segments[count - 1].name
            frames = self._fragments.frames(file.read_bytes() if file.exists() else b"")
            if frames:
                self._end = frames.stop
                return old.segments[:count]
        return ()

    def _put_playlist(self, playlist: Playlist) -> None:
        text = playlist_text(playlist, growing=self._window is None, run=self._run)
        self._put(self._playlist.name, text.encode())

    def _append(self, text: str) -> None:
        """Add to the playlist; one that is gone is not begun again without its head."""
        with self._playlist.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(text.encode())

    def _put(self, name: str, data: bytes) -> None:
        """Write a file that is seen whole or not at all, even after a power cut."""
        target = self._playlist.parent / name
        part = partial_path(target)
        try:
            with open_partial(target) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _old_files(self) -> Iterator[Path]:
        for path in sorted(self._playlist.parent.iterdir()):
            if path == self._playlist or _OURS.fullmatch(path.name):
                yield path
