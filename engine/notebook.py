"""HTML with which notebooks show blocks and runs; nothing of IPython is needed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

from sana_stream._text import safe_text

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MOST_FRAMES = 48  # of an animation
MOST_BYTES = 1 << 20  # of a picture
WIDTH, HEIGHT = 480, 360  # pixels that a picture has at the most
_QUALITY = 70  # of lossy WebP
_PROMPT = 300  # characters


def figure(frames: np.ndarray, fps: float, prompt: str, facts: Sequence[str]) -> str:
    """An HTML figure: frames as an animation in a loop, or one of them, with its caption.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        fps: frames per second of the animation.
        prompt: under the picture.
        facts: below the prompt, one after another.
    """
    kind, data = encode_frames(frames, fps)
    picture = f"data:{kind};base64,{b64encode(data).decode()}"
    shown = escape(safe_text(prompt, _PROMPT))
    return (
        '<figure style="margin: 0.5em 0">'
        f'<img src="{picture}" alt="{shown}" style="max-width: 100%; image-rendering: auto">'
        f"<figcaption><strong>{shown}</strong>{paragraph(facts)}</figcaption></figure>"
    )


def paragraph(facts: Sequence[str]) -> str:
    """Facts as HTML, one after another."""
    return f"<br><small>{escape(' · '.join(safe_text(fact) for fact in facts))}</small>"


def encode_frames(frames: np.ndarray, fps: float) -> tuple[str, bytes]:
    """Encode frames as an animated WebP of at most 480x360 pixels, 48 frames and 1 MiB.

    Frames are left out of a longer animation, which lasts as long. A single frame, and the middle
    one where this Pillow has no WebP, is a PNG.

    Args:
        frames: uint8 (T, H, W, 3), RGB, at least one.
        fps: frames per second.

    Returns:
        The MIME type and the file.
    """
    from PIL import features
    from PIL.Image import fromarray

    shown = [fromarray(frame) for frame in frames]
    step = ceil(len(shown) / MOST_FRAMES)
    for image in shown:
        image.thumbnail((WIDTH, HEIGHT))
    while features.check("webp") and step < len(shown):
        data = _animation(shown[::step], 1000 * step / fps)
        if len(data) <= MOST_BYTES:
            return "image/webp", data
        step *= ceil(len(data) / MOST_BYTES)
    file = BytesIO()
    shown[len(shown) // 2].save(file, "PNG")
    return "image/png", file.getvalue()


def _animation(images: Sequence[Image], milliseconds: float) -> bytes:
    file = BytesIO()
    # a duration of each frame, so that whole milliseconds add up to the length
    times = [round(number * milliseconds) for number in range(len(images) + 1)]
    durations = [end - begin for begin, end in pairwise(times)]
    options = {"quality": _QUALITY, "method": 1, "loop": 0, "duration": durations}
    images[0].save(file, "WEBP", save_all=True, append_images=images[1:], **options)
    return file.getvalue()
