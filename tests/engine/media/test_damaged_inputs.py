"""Reading of damaged images and clips of every format: only ConfigError is raised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from .input_files import KINDS, write_clip

PROGRAM = Path(__file__).with_name("fuzz_media.py")
FILES = 400
CLIPS: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "fragments.mp4": {"muxing": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mkv": {},
    "a.webm": {"codec": "libvpx-vp9"},
    "a.avi": {"codec": "mpeg4"},
    "a.ts": {},
    "a.flv": {},
    "a.mpg": {"codec": "mpeg2video", "fps": 25},
    "a.wmv": {"codec": "wmv2", "format": "asf"},
    "a.mov": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "a.nut": {"codec": "ffv1"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "a.gif": {"codec": "gif", "pixels": "rgb8"},
    "a.y4m": {"codec": "wrapped_avframe"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small file of every format that this machine can encode."""
    folder = tmp_path_factory.mktemp("whole")
    blocks = np.random.default_rng(0).integers(0, 256, (10, 4, 6, 4), np.uint8)
    frames = np.kron(blocks, np.ones((1, 16, 16, 1), np.uint8))  # the minimum of x265 is 64x64
    image = Image.fromarray(frames[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in KINDS:
        library = {"avif": "avif", "webp": "webp", "jp2": "jpg_2000"}.get(kind)
        if library is None or features.check(library):
            image.convert("RGB").save(folder / f"picture.{kind}", exif=exif.tobytes())
    image.quantize(16).save(folder / "picture-palette.png", transparency=3)
    try:
        import pillow_heif

        pillow_heif.from_pillow(image).save(folder / "picture.heic")
    except ImportError:
        pass
    for name, settings in CLIPS.items():
        write_clip(folder / f"clip-{name}", list(frames[..., :3]), **settings)
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
@pytest.mark.parametrize("seed", [1])
def test_damaged_media_is_read_or_raises_config_error(
    folder: Path, tmp_path: Path, seed: int
) -> None:
    words = [sys.executable, str(PROGRAM), str(folder), str(seed), str(FILES)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{FILES - 1} " in done.stderr
