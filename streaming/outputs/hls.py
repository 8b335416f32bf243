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

from sana_stream._files import PARTIAL, atomic_write
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.mp4 import Mp4Fragmenter
from sana_stream.streaming.containers.registry import resolve_encoder
from sana_stream.streaming.containers.run_id import read_run
from sana_stream.streaming.video_format import StreamSpec

from .existing_files import check_new, check_own, make_folder
from .hls_playlist import INIT, Playlist, Segment, playlist_entry, playlist_text, read_playlist
from .locks import OutputLocks
from .options import OutputOptions

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_NAMES = r"(init\.mp4|segment\d{6,}\.m4s)"
_OURS = re.compile(rf"{_NAMES}|\.{_NAMES}{re.escape(PARTIAL)}")


class HlsOutput:
    """Writes `live.m3u8`, `init.mp4` and `segment000000.m4s`, … into one folder.

    Without `options.window` the playlist keeps every block and only grows; with it, the playlist
    lists the last `window` blocks and older segments are removed. The folder is created and locked
    at once; files change when the first block comes.

    The playlist of an earlier run that is resumed has the same id and continues after
    `options.resume_frames` frames. One with a window has been watched further than that: its
    segments stay, and blocks that it has are not written again, so that its viewers only notice a
    delay.

    Raises:
        InvalidOutputError: the folder cannot be written, or it has a stream already, unless
            `options.overwrite` is set and this program has written that stream.
    """

    durable = True

    def __init__(
        self,
        playlist: Path,
        spec: StreamSpec,
        options: OutputOptions,
        locks: OutputLocks | None = None,
    ) -> None:
        self.name = safe_text(playlist)
        self.frames = options.resume_frames
        self._playlist = playlist
        self._video = spec.video
        self._window = options.window
        self._longest = spec.video.seconds(options.longest_block)
        self._next = 0  # number of the next segment
        self._end = options.resume_frames  # the frame after the last segment
        self._jumps = 0  # segments after a discontinuity that have left the window
        self._recent: deque[Segment] = deque(maxlen=options.window or 1)
        self._kept = options.resume_frames
        self._run = spec.metadata.run
        self._begun = self._closed = False
        encoder = resolve_encoder("mp4", spec.encoder)
        self._fragments = Mp4Fragmenter(replace(spec, encoder=encoder))
        self._locks = locks or OutputLocks()
        self._made_folder = make_folder(playlist.parent)
        try:
            self._locks.acquire(playlist)
            self._locks.acquire(playlist.parent / INIT)  # another playlist has the same segments
            self._resumed = self._kept > 0 and (self._window is None or playlist.exists())
            self._resumed_playlist = self._check(options.overwrite)
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
                    f"{self.name}: {os_reason(error)}; {self.frames} frames "
                    f"({self._video.seconds(self.frames):.1f} s) can be played"
                ) from error
            self._next += 1
            self._end = end
        self.frames += len(block.frames)

    def close(self) -> None:
        """End the playlist; a stream without a block leaves no file."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._begun and not self._next:
                (self._playlist.parent / INIT).unlink(missing_ok=True)
            elif self._begun or (self._resumed and self._lacks_only_its_end()):
                self._append("#EXT-X-ENDLIST\n")
        except OSError as error:
            raise OutputError(f"{self.name}: its end is not written: {os_reason(error)}") from error
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
        """The part of an existing playlist that is kept; the files are only read."""
        old = list(self._old_files())
        if not self._resumed:
            for path in old:
                if not overwrite and not self._kept:
                    raise InvalidOutputError(
                        f"{safe_text(path)} exists; choose another folder or set overwrite=True"
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
        if self._window is None:
            return replace(playlist, segments=self._first_frames(playlist, self._kept))
        return replace(playlist, segments=self._complete_segments(playlist))

    def _check_ours(self, old: list[Path]) -> None:
        """Refuse files with names of this output that belong to another stream."""
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
        """Another playlist in the folder to which the segments belong."""
        if self._playlist.exists() and read_run(self._playlist) == run:
            return None
        playlists = sorted(self._playlist.parent.glob("*.m3u8"))
        others = (path for path in playlists if path != self._playlist and read_run(path) == run)
        return next(others, None)

    def _begin(self) -> None:
        """Bring the folder to the state after which the first block follows."""
        names: set[str] = set()
        try:
            old = self._resumed_playlist
            if old is not None:
                self._next = old.media_sequence + len(old.segments)
                self._jumps = old.discontinuity_sequence
                self._longest = max(self._longest, old.target_duration)
                self._recent.extend(old.segments)
                self._put_playlist(old)
                names = {segment.name for segment in old.segments}
            for path in list(self._old_files()):
                if path.name not in names and not (old and path == self._playlist):
                    path.unlink()
            self._put(INIT, self._fragments.init)
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be written: {os_reason(error)}") from error
        self._begun = True

    def _lacks_only_its_end(self) -> bool:
        """Whether the playlist of an earlier run is complete but for its end."""
        text = self._playlist.read_text(encoding="utf-8")
        kept = self._resumed_playlist
        same = kept is not None and read_playlist(text).segments == kept.segments
        return same and "#EXT-X-ENDLIST" not in text

    def _release(self) -> None:
        self._locks.release(self._playlist)
        self._locks.release(self._playlist.parent / INIT)
        if self._made_folder and not self._next:
            with contextlib.suppress(OSError):
                self._playlist.parent.rmdir()

    def _first_frames(self, old: Playlist, kept: int) -> tuple[Segment, ...]:
        """The segments of the first `kept` frames."""
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

    def _complete_segments(self, old: Playlist) -> tuple[Segment, ...]:
        """The segments up to the last complete one: a power cut may leave incomplete ones."""
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
        """Append to the playlist; one that was removed is not created without its head."""
        with self._playlist.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(text.encode())

    def _put(self, name: str, data: bytes) -> None:
        atomic_write(self._playlist.parent / name, data)

    def _old_files(self) -> Iterator[Path]:
        for path in sorted(self._playlist.parent.iterdir()):
            if path == self._playlist or _OURS.fullmatch(path.name):
                yield path
