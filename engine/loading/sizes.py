"""Frame sizes: those that a model was published with, and the size for an aspect ratio."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream.errors import ConfigError

MOST = 20  # the widest aspect ratio, and the inverse of the tallest
CLOSE = 0.06  # relative distance up to which a size has the aspect ratio that was asked for
_RATIO = re.compile(r"(\d{1,5}(?:\.\d{1,6})?)\s*[:/]\s*(\d{1,5}(?:\.\d{1,6})?)")


@dataclass(frozen=True, slots=True)
class PublishedSize:
    """A frame size that a model was trained with."""

    ratio: float  # height / width as the published table has it; the nearest one is chosen
    height: int  # pixels
    width: int


def _table(text: str) -> tuple[PublishedSize, ...]:
    rows = (row.split() for row in text.strip().splitlines())
    return tuple(PublishedSize(float(r), int(h), int(w)) for r, h, w in rows)


# Of diffusers' SanaVideoPipeline with `use_resolution_binning`: ratio, height, width.
SIZES_480P = _table("""
    0.5   448  896
    0.57  480  832
    0.68  528  768
    0.78  560  720
    1.0   624  624
    1.13  672  592
    1.29  720  560
    1.46  768  528
    1.67  816  496
    1.75  832  480
    2.0   896  448
""")
SIZES_720P = _table("""
    0.5   672  1344
    0.57  704  1280
    0.68  800  1152
    0.78  832  1088
    1.0   960  960
    1.13  1024 896
    1.29  1088 832
    1.46  1152 800
    1.67  1248 736
    1.75  1280 704
    2.0   1344 672
""")


def parse_aspect(aspect: object) -> float:
    """The ratio width / height of "16:9", "16/9", "1.78" or 1.78.

    Raises:
        ConfigError: anything else, or a ratio beyond 20:1 or 1:20.
    """
    if isinstance(aspect, str):
        value = _parse_text(aspect.strip())
    elif isinstance(aspect, int | float | Fraction) and not isinstance(aspect, bool):
        value = ARGUMENTS.number("aspect", aspect)
    else:
        value = None
    if value is None:
        raise ConfigError(
            f"aspect {shown(aspect)} is not an aspect ratio: give width:height, such as 16:9, 9:16"
            " or 1.78"
        )
    if not 1 / MOST <= value <= MOST:
        raise ConfigError(f"aspect {shown(aspect)} is not possible: give {MOST}:1 to 1:{MOST}")
    return value


def _parse_text(text: str) -> float | None:
    if match := _RATIO.fullmatch(text):
        width, height = float(match[1]), float(match[2])
        return width / height if height else math.inf
    return float(text) if re.fullmatch(r"\d{1,5}(?:\.\d{1,6})?|\.\d{1,6}", text) else None


def size_for_aspect(
    aspect: float, published: Sequence[PublishedSize], area: int, multiple: tuple[int, int]
) -> tuple[int, int]:
    """Choose the frame size for an aspect ratio.

    Args:
        aspect: width / height.
        published: the model's sizes; the one whose ratio is nearest is chosen, as diffusers does.
        area: pixels that a frame has about, where no sizes are published.
        multiple: pixels of one token, down and across.

    Returns:
        Height and width in pixels.
    """
    if published:
        nearest = min(published, key=lambda size: abs(size.ratio - 1 / aspect))
        return nearest.height, nearest.width
    down, across = multiple
    height, width = math.sqrt(area / aspect), math.sqrt(area * aspect)
    return max(1, round(height / down)) * down, max(1, round(width / across)) * across


def aspect_note(aspect: float, height: int, width: int) -> str | None:
    """A line for a size that is not close to the aspect ratio it was chosen for."""
    if abs(width / height / aspect - 1) <= CLOSE:
        return None
    return (
        f"the nearest size to aspect {aspect:.3g} is {width}x{height}, aspect {width / height:.3g};"
        " size= sets another"
    )


def size_note(published: Sequence[PublishedSize], height: int, width: int) -> str | None:
    """A line for a size that a model was not trained with."""
    if not published or any((s.height, s.width) == (height, width) for s in published):
        return None
    near_height, near_width = size_for_aspect(width / height, published, 1, (1, 1))
    return (
        f"the model was not trained at {width}x{height}, the nearest of its sizes is"
        f" {near_width}x{near_height}; sana-stream info lists them"
    )
