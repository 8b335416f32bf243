"""Image and video arguments from Python, and long clips encoded block by block."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sana_stream.engine.engine import Engine
from sana_stream.engine.media import clip_blocks
from sana_stream.engine.media.clip_blocks import KnownBlocks
from sana_stream.engine.media.resize import cover
from sana_stream.errors import ConfigError

from ...peak_memory import peak_memory, reset_peak_memory
from ..session.test_conditioning import pictures
from ..session.test_session import same, take
from .input_files import mean_difference, scene, write_clip

PROMPT = "a red boat"
PICTURE = pictures(5, 40, 48)[4]

FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "pillow": Image.fromarray,
    "rgba": lambda picture: Image.fromarray(picture).convert("RGBA"),
    "tensor": torch.tensor,
    "bgr": lambda picture: np.ascontiguousarray(picture[..., ::-1])[..., ::-1],
    "flipped": lambda picture: np.ascontiguousarray(picture[::-1])[::-1],
    "fortran": np.asfortranarray,
    "read-only": lambda picture: np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.shape),
    "cropped": lambda picture: np.pad(picture, ((3, 5), (2, 4), (0, 0)))[3:-5, 2:-4],
    "planes": lambda picture: np.array(picture.transpose(2, 0, 1), order="C").transpose(1, 2, 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_session_accepts_image_in_every_form(tiny_engine: Engine, kind: str):
    expected = next(tiny_engine.session(PROMPT, image=PICTURE))
    given = FORMS[kind](PICTURE)
    assert same([next(tiny_engine.session(PROMPT, image=given))], [expected])
    session = tiny_engine.session(PROMPT)
    session.cut(given)
    assert same([next(session)], [expected])


def test_session_image_path_is_read_as_displayed(tiny_engine: Engine, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(PICTURE[::-1, ::-1])).save(tmp_path / "a.png", exif=exif)
    expected = next(tiny_engine.session(PROMPT, image=PICTURE))
    with Image.open(tmp_path / "a.png") as opened:
        for given in (tmp_path / "a.png", str(tmp_path / "a.png"), opened):
            assert same([next(tiny_engine.session(PROMPT, image=given))], [expected])


@pytest.mark.parametrize("kind", ["bgr", "flipped", "fortran", "read-only", "cropped"])
def test_session_accepts_video_with_any_strides(tiny_engine: Engine, kind: str):
    clip = pictures(17, 32, 48)
    given = np.stack([FORMS[kind](picture) for picture in clip])
    reverse = np.ascontiguousarray(clip[::-1])[::-1]
    expected = next(tiny_engine.session(PROMPT, video=clip))
    for form in (given, reverse, torch.tensor(clip)):
        assert same([next(tiny_engine.session(PROMPT, video=form))], [expected])


def test_session_video_path_is_resampled_to_preset_rate(tiny_engine: Engine, tmp_path: Path):
    clip = pictures(17, 32, 48)
    write_clip(tmp_path / "a.mkv", clip, "ffv1", "bgr0", round(tiny_engine.preset.fps))
    expected = take(tiny_engine.session(PROMPT, video=clip), 2)
    for given in (tmp_path / "a.mkv", str(tmp_path / "a.mkv")):
        assert same(take(tiny_engine.session(PROMPT, video=given), 2), expected)


INVALID_IMAGES = {
    "text": ("none.png", "none.png cannot be read: No such file"),
    "bytes": (b"\x89PNG", "the image is bytes; give uint8"),
    "list": ([[0, 0, 0]], "the image is list; give uint8"),
    "number": (7, "the image is int; give uint8"),
    "flat": (np.zeros((32, 48), np.uint8), "give uint8"),
    "grey": (np.zeros((32, 48, 1), np.uint8), "give uint8"),
    "alpha": (np.zeros((32, 48, 4), np.uint8), "give uint8"),
    "channels": (np.zeros((3, 32, 48), np.uint8), "give uint8"),
    "floats": (np.zeros((32, 48, 3)), "dtype float64; give uint8"),
    "nan": (np.full((32, 48, 3), np.nan), "give uint8"),
    "words": (np.zeros((32, 48, 3), np.uint16), "dtype uint16; give uint8"),
    "objects": (np.full((2, 2, 3), None), "give uint8"),
    "tensor": (torch.zeros(3, 32, 48), "dtype float32; give uint8"),
    "bfloat16": (torch.zeros(32, 48, 3, dtype=torch.bfloat16), "dtype bfloat16; give uint8"),
    "empty": (np.zeros((0, 48, 3), np.uint8), "no pixel; give uint8"),
    "scalar": (np.uint8(3), "give uint8"),
    "no-pixel": (Image.new("RGB", (0, 5)), "the image has no pixel"),
}


@pytest.mark.parametrize("kind", INVALID_IMAGES)
def test_session_with_invalid_image_raises(tiny_engine: Engine, kind: str):
    given, message = INVALID_IMAGES[kind]
    with pytest.raises(ConfigError, match=message):
        tiny_engine.session(PROMPT, image=given)
    session = tiny_engine.session(PROMPT)
    before = session.snapshot()
    with pytest.raises(ConfigError, match=message):
        session.cut(given)
    assert session.snapshot() is before


@pytest.mark.parametrize(
    "given", [np.zeros((32, 48, 3), np.uint8), np.zeros((9, 32, 48, 3)),
              np.zeros((9, 0, 48, 3), np.uint8), torch.zeros(9, 3, 32, 48), [1, 2], b"", 5,
              Image.new("RGB", (4, 4)), "none.mp4"],
    ids=["a picture", "float64", "no rows", "channels first", "list", "bytes", "int", "image",
         "missing"],
)  # fmt: skip
def test_session_with_invalid_video_raises(tiny_engine: Engine, given: Any):
    with pytest.raises(ConfigError):
        tiny_engine.session(PROMPT, video=given)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux has it")
def test_cover_extreme_aspect_in_bounded_memory():
    line = np.zeros((1, 300_000, 3), np.uint8)
    line[:, 150_000:] = 255
    try:
        before = reset_peak_memory()
    except OSError as error:
        pytest.skip(f"the peak of memory cannot be reset: {error}")
    for picture in (line, np.ascontiguousarray(line.swapaxes(0, 1))):
        assert cover(picture[None], 128, 224).shape == (1, 128, 224, 3)
    assert peak_memory() - before < 400 << 20


def test_cover_large_image_reduces_it_first(monkeypatch: pytest.MonkeyPatch):
    picture = scene(640, 960)
    exact = cover(picture[None], 32, 48)
    monkeypatch.setattr("sana_stream.engine.media.resize.LARGE", 640 * 960 - 1)
    assert mean_difference(cover(picture[None], 32, 48), exact) < 2


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize(
    ("memory", "saves"),
    [("window=1", True), ("window=2,sink=1", True), ("cumulative", False), ("decay=0.5", False)],
)
def test_long_clip_encodes_blocks_in_memory_only(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, memory: str, saves: bool, guidance: float
):
    """The stream continues as if every block had been encoded, bit for bit."""
    clip = pictures(9 + 8 * 49 + 3, 32, 48)
    encode, count = tiny_engine.vae.encode, [0]

    def counted(*given: Any):
        count[0] += 1
        return encode(*given)

    monkeypatch.setattr(tiny_engine.vae, "encode", counted)
    settings: Any = {"memory": memory, "guidance": guidance, "video": clip}
    session = tiny_engine.session(PROMPT, **settings)
    encoded, count[0] = count[0], 0
    monkeypatch.setattr(clip_blocks.KnownBlocks, "of", lambda *_: KnownBlocks(0, 0))
    whole = tiny_engine.session(PROMPT, **settings)
    assert count[0] == 50
    assert (encoded < 40) == saves
    assert session.next_start == whole.next_start == 9 + 8 * 49
    assert same(take(session, 3), take(whole, 3))


class CountedClip:
    """A clip that counts how many of its frames are held at once."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.most = 0

    def pictures(self, height: int, width: int, first: int = 0) -> Iterator[np.ndarray]:
        freed: list[int] = []
        for number in range(first, self.frames):
            frame = np.full((height, width, 3), number % 200, np.uint8)
            weakref.finalize(frame, freed.append, number)
            self.most = max(self.most, number - first + 1 - len(freed))
            yield frame
            del frame


@pytest.mark.parametrize("memory", ["window=1", "cumulative"])
def test_long_clip_is_read_in_bounded_memory(tiny_engine: Engine, memory: str):
    clip = CountedClip(9 + 8 * 60)
    session = tiny_engine.session(PROMPT, video=clip, memory=memory)
    assert session.next_start == clip.frames
    assert 0 < clip.most <= 2 * 9
