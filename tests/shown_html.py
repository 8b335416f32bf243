"""HTML as a notebook shows it."""

from __future__ import annotations

from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
from PIL import Image


class Shown(HTMLParser):
    """The tags, attributes and text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes[tag] = dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def pictures(self) -> tuple[np.ndarray, list[int]]:
        """The decoded frames of the picture, and the milliseconds that each is shown."""
        head, _, data = (self.attributes["img"]["src"] or "").partition(",")
        assert head in ("data:image/webp;base64", "data:image/png;base64")
        return decoded(b64decode(data, validate=True))


def decoded(data: bytes) -> tuple[np.ndarray, list[int]]:
    """Decode the frames of a picture, uint8 (T, H, W, 3), with their milliseconds."""
    frames, times = [], []
    with Image.open(BytesIO(data)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
            times.append(image.info.get("duration", 0))
    return np.stack(frames), times
