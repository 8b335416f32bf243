"""HTTP Live Streaming: a playlist and one fragment a block, to be served by any web server.

The playlist's tags: RFC 8216.
"""

from __future__ import annotations

import math
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SinkError, TargetError
from .format import Encoding, Tags, VideoFormat
from .mp4 import Fragmenter

if TYPE_CHECKING:
    from ..engine.block import Block

INIT = "init.mp4"
_ENTRY = re.compile(r"#EXTINF:([\d.]+),\n(\S+)")
_OURS = re.compile(r"(init\.mp4|segment\d{6,}\.m4s)(\.part)?")


def playlist_head(longest: float, first: int, init: str = INIT, growing: bool = False) -> str:
    """The lines before the segments: `longest` in seconds, `first` the first segment's number."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{math.ceil(longest)}",
        f"#EXT-X-MEDIA-SEQUENCE:{first}",
        *(["#EXT-X-PLAYLIST-TYPE:EVENT"] if growing else []),
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{init}"',
    ]
    return "\n".join(lines) + "\n"


def playlist_entry(seconds: float, name: str) -> str:
    """The lines of one segment."""
    return f"#EXTINF:{seconds:.6f},\n{name}\n"


class HlsSink:
    """Writes `live.m3u8`, `init.mp4` and `segment000000.m4s`, … into one folder.

    Without `window` the playlist keeps every block and only grows; with it, the playlist names
    the last so many blocks and older segments are removed. Raises TargetError for a folder that
    cannot be written or holds a stream already, unless `overwrite` is set.

    With `kept`, the playlist of an earlier run goes on after so many frames; one with a window
    begins anew, for what it had is gone.
    """

    durable = True

    def __init__(
        self,
        playlist: Path,
        video: VideoFormat,
        encoding: Encoding,
        tags: Tags,
        *,
        window: int | None = None,
        overwrite: bool = False,
        kept: int = 0,
    ) -> None:
        if window is not None and window < 3:
            raise TargetError(f"a window of {window} blocks: players need at least 3")
        self.label = str(playlist)
        self.frames = kept
        self._playlist = playlist
        self._video = video
        self._window = window
        self._longest = 0.0
        self._count = 0
        self._recent: deque[tuple[float, str]] = deque(maxlen=window or 1)
        self._closed = False
        self._fragments = Fragmenter(video, encoding, tags)
        try:
            playlist.parent.mkdir(exist_ok=True)
            if kept and window is None:
                self._go_on(kept)
            else:
                self._make_room(overwrite or kept > 0)
            self._put(INIT, self._fragments.init)
        except OSError as error:
            raise TargetError(f"{playlist}: cannot be written: {error.strerror}") from error

    def write(self, block: Block) -> None:
        """Add one segment: the file first, then its line in the playlist."""
        name = f"segment{self._count:06}.m4s"
        seconds = self._video.seconds(len(block.frames))
        try:
            self._put(name, self._fragments.fragment(block))
            self._announce(seconds, name)
        except OSError as error:
            raise SinkError(
                f"{self.label}: {error.strerror}; {self.frames} frames "
                f"({self._video.seconds(self.frames):.1f} s) can be played"
            ) from error
        self._count += 1
        self.frames += len(block.frames)

    def close(self) -> None:
        """Tell players that no more comes."""
        if self._closed or not self._count:
            return
        self._closed = True
        try:
            with self._playlist.open("a", encoding="utf-8") as file:
                file.write("#EXT-X-ENDLIST\n")
        except OSError as error:
            raise SinkError(f"{self.label}: has no end: {error.strerror}") from error

    def _announce(self, seconds: float, name: str) -> None:
        leaving = self._recent[0][1] if self._window and len(self._recent) == self._window else None
        self._longest = max(self._longest, seconds)
        self._recent.append((seconds, name))
        if self._window is None and self._count:
            with self._playlist.open("a", encoding="utf-8") as file:
                file.write(playlist_entry(seconds, name))
            return
        first = self._count - len(self._recent) + 1
        head = playlist_head(self._longest, first, growing=self._window is None)
        entries = "".join(playlist_entry(*entry) for entry in self._recent)
        self._put(self._playlist.name, (head + entries).encode())
        if leaving:
            (self._playlist.parent / leaving).unlink(missing_ok=True)

    def _go_on(self, kept: int) -> None:
        """Keep the segments of the first frames, drop the others and the end of the playlist."""
        entries, frames = [], 0
        for seconds, name in _ENTRY.findall(self._playlist.read_text(encoding="utf-8")):
            if frames >= kept:
                break
            entries.append((float(seconds), name))
            frames += round(float(seconds) / self._video.frame_time)
        if frames != kept:
            raise TargetError(
                f"{self._playlist}: cannot be gone on with: no segment in it ends after"
                f" {kept} frames"
            )
        self._count, self._longest = len(entries), max(seconds for seconds, _ in entries)
        self._recent.append(entries[-1])
        head = playlist_head(self._longest, 0, growing=True)
        text = head + "".join(playlist_entry(*entry) for entry in entries)
        self._put(self._playlist.name, text.encode())
        for path in self._old_files():
            if path.suffix == ".m4s" and path.name not in {name for _, name in entries}:
                path.unlink()

    def _put(self, name: str, data: bytes) -> None:
        """Write a file that is seen whole or not at all."""
        target = self._playlist.parent / name
        part = target.with_name(name + ".part")
        try:
            part.write_bytes(data)
            os.replace(part, target)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _make_room(self, overwrite: bool) -> None:
        for path in self._old_files():
            if not overwrite:
                raise TargetError(f"{path} exists; choose another folder or allow overwriting")
            path.unlink()

    def _old_files(self) -> Iterator[Path]:
        for path in sorted(self._playlist.parent.iterdir()):
            if path == self._playlist or _OURS.fullmatch(path.name):
                yield path
