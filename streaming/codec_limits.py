"""The sizes, rates and settings that each encoder takes; others make it fail or crash.

Found by trying them in separate processes; `tests/streaming/test_codec_limits.py` tries the limits.
"""

from __future__ import annotations

from dataclasses import dataclass

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
_AV1_PRESETS = tuple(str(n) for n in range(14))
_VP9_PRESETS = tuple(str(n) for n in range(9))
_PRORES_PROFILES = ("proxy", "lt", "standard", "hq")
_DNXHR_PROFILES = ("lb", "sq", "hq", "hqx")


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """The limits of one codec's encoder; sizes are (width, height) in pixels."""

    crf: int | None  # the highest; None where the codec has no such scale
    presets: tuple[str, ...]
    bit_depths: tuple[int, ...] = (8,)
    smallest: tuple[int, int] = (2, 2)
    largest: tuple[int, int] = (16384, 16384)
    fastest: int = 1000  # frames per second


LIMITS = {
    "h264": CodecLimits(51, _X26X_PRESETS),
    # below 64 pixels x265 writes out of bounds
    "h265": CodecLimits(51, _X26X_PRESETS, (8, 10), smallest=(64, 64)),
    # SVT-AV1 hangs on sides of 16 pixels or less
    "av1": CodecLimits(
        63, _AV1_PRESETS, (8, 10), smallest=(32, 32), largest=(16384, 8704), fastest=240
    ),
    "vp9": CodecLimits(63, _VP9_PRESETS, smallest=(8, 8)),
    "ffv1": CodecLimits(None, (), smallest=(4, 2)),
    "prores": CodecLimits(None, _PRORES_PROFILES, (10,)),
    "dnxhr": CodecLimits(None, _DNXHR_PROFILES, (8, 10), smallest=(256, 120)),
}
