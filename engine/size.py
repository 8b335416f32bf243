"""Picture sizes that a model can take."""

from __future__ import annotations

from ..models.arguments import ARGUMENTS
from ..models.errors import ConfigError

LARGEST = 1_000_000  # pixels a side; the memory of the machine ends far before


def check_size(height: int, width: int, multiple: tuple[int, int]) -> None:
    """Refuse a size that does not fill whole tokens.

    Args:
        height, width: pixels.
        multiple: pixels of one token, down and across.

    Raises:
        ConfigError: names the nearest size that can be taken.
    """
    height = ARGUMENTS.whole("height", height, most=LARGEST)
    width = ARGUMENTS.whole("width", width, most=LARGEST)
    down, across = multiple
    if height > 0 and width > 0 and height % down == 0 and width % across == 0:
        return
    nearest = f"{_nearest(width, across)}x{_nearest(height, down)}"
    rule = f"multiples of {down}" if down == across else f"multiples of {across}x{down}"
    raise ConfigError(
        f"size {width}x{height} does not fit this model; use {rule}, the nearest is {nearest}"
    )


def _nearest(value: int, multiple: int) -> int:
    return max(1, round(max(0, value) / multiple)) * multiple
