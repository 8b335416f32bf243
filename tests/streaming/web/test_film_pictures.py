"""Still pictures of films: their frames, formats and sizes, and how long they are kept."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sana_stream.streaming.web.file_cache import FileCache
from sana_stream.streaming.web.film_pictures import FilmPictures, poster, spritesheet, thumbnail

COLOURS = (200, 40, 40), (40, 200, 40), (40, 40, 200)
MAKERS = (poster, thumbnail, spritesheet)


def film(path: Path, width: int = 96, height: int = 64, frames: int = 30) -> Path:
    """A film in three parts of one colour each, every fifth frame a key frame."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", 10, options={"g": "5", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            pixels = np.full((height, width, 3), COLOURS[number * 3 // frames], np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path


def picture(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def nearest(image: Image.Image, x: int, y: int) -> int:
    """Which colour a pixel has."""
    found = np.asarray(image.convert("RGB"), np.int64)[y, x]
    return int(np.abs(np.array(COLOURS) - found).sum(axis=1).argmin())


def test_pictures_show_their_place_of_the_film(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    for make, format_name, colour in ((poster, "JPEG", 1), (thumbnail, "WEBP", 0)):
        image = picture(make(path))
        assert (image.format, image.size) == (format_name, (96, 64))
        assert nearest(image, 48, 32) == colour
    sheet = picture(spritesheet(path))
    assert (sheet.format, sheet.size) == ("WEBP", (5 * 96, 5 * 64))
    found = [nearest(sheet, 96 * (n % 5) + 48, 64 * (n // 5) + 32) for n in range(25)]
    assert found == sorted(found)
    assert set(found) == {0, 1, 2}


def test_large_pictures_are_reduced_in_their_proportions(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 960, 480, 3)
    assert picture(poster(path)).size == (360, 180)
    assert picture(thumbnail(path)).size == (480, 240)
    assert picture(spritesheet(path)).size == (3 * 160, 80)


def sound(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", 16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def no_frames(path: Path) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("libx264", 10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()


def damaged(path: Path) -> None:
    path.write_bytes(b"damaged")


def torn(path: Path) -> None:
    data = film(path).read_bytes()
    path.write_bytes(data[: data.index(b"mdat")])


def other(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(100))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("write", [sound, no_frames, damaged, torn, other])
def test_files_without_a_frame_are_one_kind_of_error(
    tmp_path: Path, write: Callable[[Path], None], make: Callable[[Path], bytes]
) -> None:
    write(path := tmp_path / "a.mp4")
    with pytest.raises((OSError, ValueError)):
        make(path)


def test_a_picture_is_kept_until_its_file_changes(tmp_path: Path) -> None:
    path, pictures = film(tmp_path / "a.mp4", frames=3), FilmPictures()
    first = pictures.get(path, thumbnail)
    assert pictures.get(path, thumbnail) is first
    assert pictures.get(path, poster) != first
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))
    assert pictures.get(path, thumbnail) is not first
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pictures.get(path, thumbnail)


def test_a_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    read: list[str] = []

    def content(path: Path) -> bytes:
        read.append(path.name)
        return path.read_bytes()

    cache: FileCache[bytes] = FileCache(10, len)
    paths = {name: tmp_path / name for name in "abc"}
    for name, path in paths.items():
        path.write_bytes(name.encode() * 4)
    for name in "abaca":
        assert cache.get(paths[name], content) == name.encode() * 4
    assert "".join(read) == "abc"  # the third took the place of b
    cache.get(paths["b"], content)
    assert "".join(read) == "abcb"
    (tmp_path / "d").write_bytes(b"d" * 20)
    assert len(cache.get(tmp_path / "d", content)) == len(cache.get(tmp_path / "d", content)) == 20
    assert "".join(read) == "abcbd"
    cache.get(tmp_path / "d", content, "another state")
    assert "".join(read) == "abcbdd"
