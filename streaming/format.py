"""What a stream looks like and how it is compressed, as plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction

from .errors import TargetError
from .run_id import ANONYMOUS, run_mark

CRF_LIMIT = {"h264": 51, "h265": 51, "av1": 63, "vp9": 63}
CODECS = (*CRF_LIMIT, "ffv1")
NVENC_CODECS = ("h264", "h265", "av1")
_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
PRESETS = {
    "h264": _X26X_PRESETS,
    "h265": _X26X_PRESETS,
    "av1": tuple(str(n) for n in range(14)),
    "vp9": tuple(str(n) for n in range(9)),
}


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """Picture size in pixels and frames a second of the stream that an output is to take.

    Raises TargetError for a size or rate that no output can hold.
    """

    width: int
    height: int
    fps: Fraction | int

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("height", self.height)):
            if value < 2 or value % 2:
                nearest = max(2, value // 2 * 2)
                raise TargetError(
                    f"{name} {value}: video is stored with half the colour resolution, which "
                    f"needs an even number of pixels; {nearest} is the nearest"
                )
        if self.fps <= 0:
            raise TargetError(f"{self.fps} frames a second: must be more than 0")

    @property
    def frame_time(self) -> Fraction:
        """Seconds that one frame is shown."""
        return 1 / Fraction(self.fps)

    def seconds(self, frames: int) -> float:
        """How long so many frames last."""
        return float(frames * self.frame_time)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pictures are compressed; None is the usual choice of the container or the codec.

    `crf` is the quality of the codec's own scale (lower is better), `preset` its speed: a name
    for h264 and h265, a number for av1 (0 to 13) and vp9 (0 to 8). ffv1 is lossless and has
    neither. `nvenc` asks for the encoder of an NVIDIA GPU, which has presets of its own. Raises
    TargetError for a value outside these.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    nvenc: bool = False

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in CODECS:
            raise TargetError(f"codec {self.codec!r}: one of {', '.join(CODECS)}")
        if self.codec is not None:
            self.check(self.codec)

    def check(self, codec: str) -> None:
        """Refuse values that `codec` does not take."""
        if self.nvenc and codec not in NVENC_CODECS:
            raise TargetError(f"codec {codec!r}: NVIDIA GPUs encode {', '.join(NVENC_CODECS)}")
        if self.nvenc and self.preset is not None:
            raise TargetError(f"preset {self.preset!r}: leave it out when the GPU encodes")
        if self.crf is not None:
            if codec not in CRF_LIMIT:
                raise TargetError(f"crf {self.crf}: {codec} is lossless; leave it out")
            if not 0 <= self.crf <= CRF_LIMIT[codec]:
                raise TargetError(f"crf {self.crf}: {codec} takes 0 to {CRF_LIMIT[codec]}")
        if self.preset is not None and self.preset not in PRESETS.get(codec, ()):
            allowed = ", ".join(PRESETS.get(codec, ())) or "none; leave it out"
            raise TargetError(f"preset {self.preset!r}: {codec} takes {allowed}")


@dataclass(frozen=True, slots=True)
class Tags:
    """What is written into a file about how it was made."""

    title: str = ""
    prompts: tuple[str, ...] = ()
    seed: int | None = None
    run: str | None = ANONYMOUS  # the run's id; None where no version of it wrote one

    def metadata(self) -> dict[str, str]:
        """The tags by the names that MP4 and Matroska share; `comment` is JSON."""
        facts = {"seed": self.seed, "run": None if self.run is None else run_mark(self.run)}
        told = {name: value for name, value in facts.items() if value is not None}
        tags = {
            "title": self.title,
            "description": "\n".join(self.prompts),
            "comment": json.dumps(told) if told else "",
        }
        return {name: text for name, text in tags.items() if text}
