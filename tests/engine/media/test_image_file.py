"""Reading of image files that phones, cameras and programs write, as viewers display them."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from sana_stream.engine.media import image_file
from sana_stream.engine.media.image_file import read_image, read_pillow
from sana_stream.errors import ConfigError

from .input_files import KINDS, RED, mean_difference, save_oriented, scene, write_clip

WHITE = 255


def ignore_note(note: str) -> None:
    """Ignore a note."""


def needs(kind: str) -> None:
    """Skip if this machine's Pillow was built without a library."""
    library = {"avif": "avif", "webp": "webp", "jp2": "jpg_2000"}.get(kind)
    if library and not features.check(library):
        pytest.skip(f"Pillow is built without {library}")


@pytest.mark.parametrize("kind", KINDS)
def test_read_image_of_every_format(tmp_path: Path, kind: str) -> None:
    needs(kind)
    file = tmp_path / f"a.{kind}"
    Image.fromarray(scene()).save(file)
    assert mean_difference(read_image(file, ignore_note), scene()) < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff", "avif"])
def test_read_image_applies_exif_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    needs(kind)
    save_oriented(tmp_path / f"a.{kind}", orientation)
    assert mean_difference(read_image(tmp_path / f"a.{kind}", ignore_note), scene()) < 8
    with Image.open(tmp_path / f"a.{kind}") as image:
        assert mean_difference(read_pillow(image, ignore_note), scene()) < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_heic_applies_orientation_and_crop(tmp_path: Path, orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is optional")
    heif.register_heif_opener()
    save_oriented(tmp_path / "a.heic", orientation)
    assert mean_difference(read_image(tmp_path / "a.heic", ignore_note), scene()) < 8


def test_read_heic_without_reader_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.heic").write_bytes(
        struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + b"\0" * 99
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ConfigError, match=r"pip install 'sana-stream\[heif\]'"):
        read_image(tmp_path / "a.heic", ignore_note)


def half_transparent() -> tuple[Image.Image, np.ndarray]:
    """Create the scene with a transparent left half, and its expected pixels."""
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, :48] = 0
    expected = scene()
    expected[:, :48] = WHITE
    return Image.fromarray(np.concatenate((scene(), alpha), axis=2)), expected


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "avif", "tga", "qoi"])
def test_transparent_image_is_shown_on_white_and_noted(tmp_path: Path, kind: str) -> None:
    needs(kind)
    image, expected = half_transparent()
    image.save(tmp_path / f"a.{kind}")
    notes: list[str] = []
    assert mean_difference(read_image(tmp_path / f"a.{kind}", notes.append), expected) < 8
    assert notes == [f"{tmp_path}/a.{kind}: its transparent parts are shown on white"]


def test_transparency_of_palette_grey_and_colour_key(tmp_path: Path) -> None:
    image, expected = half_transparent()
    grey = np.repeat(np.asarray(Image.fromarray(scene()).convert("L"))[..., None], 3, axis=2)
    palette = Image.fromarray(scene()).quantize(8)
    left = int(np.asarray(palette)[40, 10])
    below = scene()
    below[16:, :48] = WHITE
    Image.fromarray(scene()).save(tmp_path / "key.png", transparency=RED)
    palette.save(tmp_path / "index.png", transparency=left)
    palette.save(tmp_path / "index.gif", transparency=left)
    table = bytes(0 if index == left else 255 for index in range(8))
    palette.save(tmp_path / "table.png", transparency=table)
    for name in ("key.png", "index.png", "index.gif", "table.png"):
        assert mean_difference(read_image(tmp_path / name, ignore_note), below) < 4, name
    for mode in ("LA", "RGBA", "RGBa", "La"):
        modes = {"La": "LA", "RGBa": "RGBA"}
        shown = read_pillow(image.convert(modes.get(mode, mode)).convert(mode), ignore_note)
        want = np.where(expected == WHITE, WHITE, grey) if mode in ("LA", "La") else expected
        assert mean_difference(shown, want) < 4, mode


def test_transparency_of_16_bit_image(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0x3C00, 0xC8C8], [0xC8C8, 0x3C00]], np.uint16))
    image.save(tmp_path / "grey.png", transparency=0xC8C8)
    shown = read_image(tmp_path / "grey.png", ignore_note)
    assert shown[..., 0].tolist() == [[0x3C, WHITE], [WHITE, 0x3C]]


def test_opaque_alpha_channel_is_not_noted() -> None:
    notes: list[str] = []
    assert (
        mean_difference(
            read_pillow(Image.fromarray(scene()).convert("RGBA"), notes.append), scene()
        )
        == 0
    )
    assert notes == []


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F"])
def test_read_pillow_of_every_mode(mode: str) -> None:
    colour, grey = Image.fromarray(scene()), Image.fromarray(scene()).convert("L")
    values = np.asarray(grey)
    image = {
        "L": grey,
        "P": colour.quantize(8),
        "1": Image.fromarray(np.where(values > 60, WHITE, 0).astype(np.uint8)).convert("1"),
        "I;16": Image.fromarray(values.astype(np.uint16) * 257),
        "I": Image.fromarray(values.astype(np.int32) * 257),
        "F": Image.fromarray((values / 255).astype(np.float32)),
        "LAB": ImageCms.profileToProfile(
            colour, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        ),
    }.get(mode) or colour.convert(mode)
    assert image.mode == mode
    expected = np.repeat(values[..., None], 3, axis=2)
    if mode == "1":
        expected = np.where(expected > 60, WHITE, 0)
    coloured = mode in ("P", "CMYK", "YCbCr", "HSV", "LAB")
    assert mean_difference(read_pillow(image, ignore_note), scene() if coloured else expected) < 3


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bit_image_is_scaled_to_8_bits(tmp_path: Path, kind: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / f"a.{kind}")
    shown = read_image(tmp_path / f"a.{kind}", ignore_note)[..., 0]
    assert np.array_equal(shown.ravel(), np.arange(256))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 255.0])
def test_float_pixels_outside_range_raise(value: float) -> None:
    with pytest.raises(ConfigError, match="outside 0 to 1"):
        read_pillow(Image.fromarray(np.full((4, 4), value, np.float32)), ignore_note)


def wide_profile() -> bytes:
    """Create an ICC profile with a red much different from sRGB's: red and green exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data = data.replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")
    return bytes(
        data.replace(b"sRGB", b"WIDE").replace("sRGB".encode("utf-16-be"), b"\0W\0I\0D\0E")
    )


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
def test_colour_profile_is_applied(tmp_path: Path, kind: str) -> None:
    needs(kind)
    Image.fromarray(scene()).save(tmp_path / f"a.{kind}", icc_profile=wide_profile())
    assert (
        mean_difference(read_image(tmp_path / f"a.{kind}", ignore_note), scene()[..., (1, 0, 2)])
        < 10
    )


def test_srgb_profile_is_identity_and_broken_profile_is_noted(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile, count in ((srgb, 0), (b"broken" * 50, 1), (b"\0" * 9_000_000, 1)):
        Image.fromarray(scene()).save(tmp_path / "a.tiff", icc_profile=profile)
        notes: list[str] = []
        assert mean_difference(read_image(tmp_path / "a.tiff", notes.append), scene()) == 0
        assert len(notes) == count


@pytest.mark.parametrize(("transfer", "kind", "white"), [(16, "PQ", 148), (18, "HLG", 191)])
def test_hdr_png_is_tone_mapped(tmp_path: Path, transfer: int, kind: str, white: int) -> None:
    """Reference white (ITU-R BT.2408) becomes almost white."""
    data = io.BytesIO()
    Image.new("RGB", (48, 32), (white,) * 3).save(data, "PNG")
    head, rest = data.getvalue()[:33], data.getvalue()[33:]
    chunk = b"cICP" + bytes((9, transfer, 0, 1))
    whole = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(head + whole + rest)
    notes: list[str] = []
    shown = read_image(tmp_path / "a.png", notes.append)
    assert 235 < shown.min() <= shown.max() < 250
    assert f"is HDR ({kind})" in notes[0]


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff", "avif", "mpo"])
def test_animation_or_pages_give_first_image(tmp_path: Path, kind: str) -> None:
    needs(kind)
    pages = [Image.new("RGB", (96, 64), colour) for colour in (RED, (0, 200, 0), (0, 0, 200))]
    pages[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=pages[1:], duration=100)
    assert (
        mean_difference(read_image(tmp_path / f"a.{kind}", ignore_note), np.asarray(pages[0])) < 8
    )


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_image_raises(tmp_path: Path, kind: str) -> None:
    needs(kind)
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{kind}")
    data = (tmp_path / f"a.{kind}").read_bytes()
    (tmp_path / f"half.{kind}").write_bytes(data[: len(data) // 2])
    with pytest.raises(ConfigError, match=r"is damaged or truncated|cannot be read"):
        read_image(tmp_path / f"half.{kind}", ignore_note)


@pytest.mark.parametrize(
    "name", ["12:30.png", "%03d.png", "-x.png", "ä ü.png", "concat:a.png", "a|b.png", "[x].png",
             "file:a.png", "a\x1b[31m.png", "\udcff.png", "pipe:0", "a" * 240 + ".png"],
)  # fmt: skip
def test_any_file_name_is_read_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = io.BytesIO()
    Image.fromarray(scene()).save(data, "PNG")
    Path(name).write_bytes(data.getvalue())
    assert mean_difference(read_image(name, ignore_note), scene()) == 0


NOT_IMAGES = {
    "empty.png": (b"", "is empty"),
    "zero.png": (bytes(5000), "is not a picture"),
    "text.png": (b"hello " * 99, "is not a picture"),
    "a.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
    "a.pdf": (b"%PDF-1.4\n" * 9, "is not a picture"),
    "a.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
    "a.m3u8": (b"#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n", "is not a picture"),
    "a.ffconcat": (b"ffconcat version 1.0\nfile clip.mp4\n", "is not a picture"),
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_file_that_is_not_an_image_raises(tmp_path: Path, name: str) -> None:
    data, message = NOT_IMAGES[name]
    write_clip(tmp_path / "clip.mp4", [scene()] * 3)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_image(tmp_path / name, ignore_note)


def test_pipe_folder_or_address_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    for name, message in {
        "pipe.png": "not a regular file",
        ".": "not a regular file",
        "/dev/zero": "not a regular file",
        "https://example.org/a.png": "is an address: download it",
        "none\0.png": "cannot be read",
        "\x1b[2Jnone.png": r"^\\x1b\[2Jnone.png cannot be read: No such file",
    }.items():
        with pytest.raises(ConfigError, match=message):
            read_image(name, ignore_note)


def test_read_image_of_clip_gives_first_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [scene(), 255 - scene(), scene()])
    notes: list[str] = []
    assert mean_difference(read_image(tmp_path / "a.mp4", notes.append), scene()) < 12
    assert notes == [f"{tmp_path}/a.mp4 is a clip: its first frame is used"]


def huge_png(width: int, height: int) -> bytes:
    """Create the beginning of a PNG of any size, with a few of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        huge_png(16_000, 16_000),
        huge_png(2**31 - 1, 2**31 - 1),
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,\0\0\0\0"
        + struct.pack("<HH", 65535, 65535) + b"\0\x02\x02\x4c\x01\0;",
        b"P6\n100000 100000\n255\n" + bytes(99),
        b"BM" + struct.pack("<IIIIiiHH", 99, 0, 54, 40, 30000, 30000, 1, 24) + bytes(24),
    ],
    ids=["png", "png-max", "gif", "ppm", "bmp"],
)  # fmt: skip
def test_decompression_bomb_raises_before_decoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ConfigError, match=r"more pixels|is damaged|cannot be read"):
        read_image(tmp_path / "a.png", ignore_note)


def test_jpeg_with_too_many_scans_raises(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(scene()).save(data, "JPEG", progressive=True)
    whole = data.getvalue()
    last = whole.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(whole[:last] + whole[last:-2] * 200 + whole[-2:])
    with pytest.raises(ConfigError, match="make it smaller"):
        read_image(tmp_path / "a.jpg", ignore_note)


def test_very_large_jpeg_is_decoded_at_a_fraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_file, "DRAFT_PIXELS", 64 * 96 // 10)
    Image.fromarray(scene()).save(tmp_path / "a.jpg", quality=95)
    shown = read_image(tmp_path / "a.jpg", ignore_note)
    assert shown.shape == (16, 24, 3)
    assert mean_difference(shown, scene(16, 24)) < 8


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16", "CMYK"])
def test_large_image_is_reduced(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("sana_stream.engine.media.image_colour.WORKING_PIXELS", 64 * 96 // 4)
    grey = np.repeat(np.asarray(Image.fromarray(scene()).convert("L"))[..., None], 3, axis=2)
    image = Image.fromarray(scene())
    image = (
        Image.fromarray(grey[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else image.convert(mode)
    )
    shown = read_pillow(image, ignore_note)
    assert shown.shape == (32, 48, 3)
    if mode in ("RGB", "RGBA", "P", "CMYK"):
        assert mean_difference(shown, scene(32, 48)) < 8
