"""Where the stream was rewound, as seen from the video, which continues."""

from __future__ import annotations

from sana_stream.errors import ConfigError

_KEPT = 200


class Rewinds:
    """The parts of a video that its stream has left by rewinding.

    The video is what was shown, so a rewind leaves a part in it that the stream does not remember.
    """

    def __init__(self) -> None:
        self._left_out: list[tuple[int, int]] = []  # ascending, disjoint

    @property
    def left_out(self) -> tuple[tuple[int, int], ...]:
        """The first frame and the end of each part that was left, ascending; at most 200."""
        return tuple(self._left_out[-_KEPT:])

    def add(self, frame: int, gone: int) -> None:
        """Record that the stream was rewound by `gone` frames before this frame of the video."""
        if not gone:
            return
        begin = self._begin(frame, gone)
        self._left_out = [part for part in self._left_out if part[1] <= begin]
        self._left_out.append((begin, frame))

    def frames_back(self, target: int, frame: int) -> int:
        """How far the stream must be rewound before a frame to return to an earlier one.

        Args:
            target: of the video.
            frame: of the video, with which the next block starts.

        Raises:
            ConfigError: the stream has left that part, or it is still to come.
        """
        if target > frame:
            raise ConfigError("cannot rewind to a time that is still to come: give an earlier one")
        if any(begin < target < end for begin, end in self._left_out):
            raise ConfigError(
                "cannot rewind into a part that the stream was rewound from: give another time"
            )
        return frame - target - self._length_between(target, frame)

    def _length_between(self, begin: int, end: int) -> int:
        """The frames that were left between two frames of the video."""
        return sum(last - first for first, last in self._left_out if begin <= first and last <= end)

    def _begin(self, frame: int, gone: int) -> int:
        """The frame of the video to which a rewind leads."""
        position = frame
        for first, last in reversed(self._left_out):
            if position - gone >= last:
                break
            gone -= position - last
            position = first
        return position - gone
