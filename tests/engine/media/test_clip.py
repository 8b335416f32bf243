"""Decoding of clips as players display them: orientation, aspect, colours, times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sana_stream.engine.media.clip import inspect_clip
from sana_stream.engine.media.resize import cover
from sana_stream.errors import ConfigError

from .decoded_clips import FPS, ignore_note, read_frames
from .input_files import mean_difference, scene, set_matrix, turned, write_clip


def test_clip_frames_are_in_order_from_any_position(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 7 * i, np.uint8) for i in range(20)]
    write_clip(tmp_path / "a.mkv", frames, "ffv1", "bgr0")
    clip = inspect_clip(tmp_path / "a.mkv", FPS, ignore_note)
    assert (clip.frames, clip.size) == (20, (32, 48))
    for first in (0, 1, 13, 19, 20):
        assert np.array_equal(list(clip.pictures(32, 48, first)), frames[first:]) or first == 20
    assert list(clip.pictures(32, 48, 20)) == []


MATRICES = {  # an MP4's display matrix (a, b, c, d), by the equivalent EXIF orientation
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


@pytest.mark.parametrize("orientation", MATRICES)
def test_clip_with_display_matrix_is_upright(tmp_path: Path, orientation: int) -> None:
    stored = turned(scene(), orientation)
    write_clip(tmp_path / "a.mp4", [stored] * 9, options={"crf": "5"})
    set_matrix(tmp_path / "a.mp4", MATRICES[orientation], (stored.shape[1], stored.shape[0]))
    clip = inspect_clip(tmp_path / "a.mp4", FPS, ignore_note)
    assert clip.size == (64, 96)
    assert mean_difference(next(clip.pictures(64, 96)), scene()) < 8


def test_display_matrices_agree_with_libav(tmp_path: Path) -> None:
    """The matrices above agree with libav's rotation angles, where it has one."""
    angles = {1: 0, 3: 180, 6: 270, 8: 90}  # counter-clockwise
    for orientation, angle in angles.items():
        stored = turned(scene(), orientation)
        write_clip(tmp_path / "a.mp4", [stored] * 3)
        set_matrix(tmp_path / "a.mp4", MATRICES[orientation], (stored.shape[1], stored.shape[0]))
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert next(container.decode(video=0)).rotation % 360 == angle


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2), Fraction(16, 15)])
def test_non_square_pixels_are_scaled(tmp_path: Path, aspect: Fraction) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9, sample_aspect_ratio=aspect)
    clip = inspect_clip(tmp_path / "a.mp4", FPS, ignore_note)
    assert clip.size == (64, round(96 * aspect))
    assert (
        mean_difference(
            next(clip.pictures(*clip.size)), cover(scene()[None], *clip.size, float(aspect))[0]
        )
        < 8
    )


@pytest.mark.parametrize("aspect", [Fraction(1000), Fraction(1, 1000)])
def test_implausible_pixel_aspect_is_ignored(tmp_path: Path, aspect: Fraction) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9, sample_aspect_ratio=aspect)
    assert inspect_clip(tmp_path / "a.mp4", FPS, ignore_note).size == (64, 96)


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("full", [False, True])
def test_colour_matrix_and_range_are_applied(tmp_path: Path, matrix: int, full: bool) -> None:
    frame = av.VideoFrame.from_ndarray(scene(), format="rgb24").reformat(
        format="yuv444p", dst_colorspace=matrix, dst_color_range=2 if full else 1
    )
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=16)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        frame.colorspace, frame.color_range = matrix, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert mean_difference(read_frames(tmp_path / "a.mkv")[0], scene()) < 3


def pq_of(nits: np.ndarray) -> np.ndarray:
    """Encode luminance as PQ (SMPTE ST 2084), 16 bits."""
    y = (nits / 10000) ** 0.1593017578125
    return np.round(65535 * ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375)


def hdr_clip(path: Path, levels: np.ndarray, transfer: int) -> None:
    """Write a clip of grey columns with 10 bits of these 16-bit values, in BT.2020."""
    frame = av.VideoFrame(8 * len(levels), 32, "yuv420p10le")
    luma = np.repeat(64 + levels / 65535 * 876, 8).round().astype("<u2")
    for plane, row in zip(
        frame.planes, (luma, np.full(luma.size // 2, 512, "<u2")) * 2, strict=False
    ):
        padded = np.zeros((plane.height, plane.line_size // 2), "<u2")
        padded[:, : row.size] = row if plane.height == 32 else 512
        plane.update(padded.tobytes())
    third = frame.planes[2]
    third.update(np.full(third.buffer_size // 2, 512, "<u2").tobytes())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=16)
        stream.height, stream.width, stream.pix_fmt = 32, frame.width, "yuv420p10le"
        for target in (stream.codec_context, frame):
            target.color_trc, target.color_primaries, target.colorspace = transfer, 9, 9
            target.color_range = 1
        for number in range(9):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_pq_clip_is_tone_mapped_and_noted(tmp_path: Path) -> None:
    nits = np.array([0.0, 20, 50, 100, 203, 400, 1000, 4000])
    hdr_clip(tmp_path / "a.mkv", pq_of(nits), 16)
    notes: list[str] = []
    clip = inspect_clip(tmp_path / "a.mkv", FPS, notes.append)
    shown = next(clip.pictures(32, 64))[16, 4::8, 0].astype(int)
    assert any("is HDR (PQ)" in line for line in notes)
    assert (np.diff(shown[:7]) > 2).all()  # all levels up to 1000 cd/m2 differ
    assert shown[0] == 0
    assert 235 < shown[4] < 250  # reference white
    assert shown[6:].min() >= 253
    srgb = 255 * (1.055 * (nits[1:4] / 203) ** (1 / 2.4) - 0.055)
    assert np.abs(shown[1:4] - srgb).max() < 6  # darker values are unchanged


def test_hlg_clip_is_tone_mapped_and_noted(tmp_path: Path) -> None:
    hdr_clip(tmp_path / "a.mkv", np.array([0.0, 0.25, 0.5, 0.75, 1, 0, 0, 0]) * 65535, 18)
    notes: list[str] = []
    clip = inspect_clip(tmp_path / "a.mkv", FPS, notes.append)
    shown = next(clip.pictures(32, 64))[16, 4:40:8, 0].astype(int)
    assert any("is HDR (HLG)" in line for line in notes)
    assert (np.diff(shown) > 2).all()
    assert 235 < shown[3] < 250  # 75 % is reference white (ITU-R BT.2408)


def test_transparent_clip_is_shown_on_white_and_noted(tmp_path: Path) -> None:
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, :48] = 0
    frame = np.concatenate((scene(), alpha), axis=2)
    write_clip(tmp_path / "a.mov", [frame] * 9, "png", "rgba")
    notes: list[str] = []
    clip = inspect_clip(tmp_path / "a.mov", FPS, notes.append)
    expected = scene()
    expected[:, :48] = 255
    assert mean_difference(next(clip.pictures(64, 96)), expected) == 0
    assert notes == [f"{tmp_path}/a.mov: its transparent parts are shown on white"]


def test_frame_is_repeated_until_the_next_one(tmp_path: Path) -> None:
    shades = [np.full((32, 48, 3), shade, np.uint8) for shade in (0, 80, 160, 240)]
    write_clip(tmp_path / "a.mkv", shades, "ffv1", "bgr0", times=[500, 1000, 1250, 2000])
    shown = [int(picture[0, 0, 0]) for picture in read_frames(tmp_path / "a.mkv", 32, 48)]
    assert shown == [0] * 8 + [80] * 4 + [160] * 12 + [240] * 12


@pytest.mark.parametrize("times", [[0, 40, 10**9], [0, 10**9, 10**9 + 40], [10**9, 40, 80]])
def test_timestamp_jumps_are_ignored_and_noted(tmp_path: Path, times: list[int]) -> None:
    write_clip(tmp_path / "a.nut", [scene()] * 3, "ffv1", "bgr0", times=sorted(times))
    notes: list[str] = []
    clip = inspect_clip(tmp_path / "a.nut", FPS, notes.append)
    assert clip.frames < 20
    assert any("timestamps jump" in line for line in notes)
    assert len(list(clip.pictures(64, 96))) == clip.frames


def test_cover_image_and_audio_are_not_selected(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", [scene()] * 9)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ConfigError, match="not a clip of a known format"):
        inspect_clip(tmp_path / "sound.wav", FPS, ignore_note)
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        container.mux(stream.encode(sound))
    with pytest.raises(ConfigError, match=r"has no video stream|has no frame"):
        inspect_clip(tmp_path / "sound.mkv", FPS, ignore_note)


def test_clip_with_changing_size_is_scaled(tmp_path: Path) -> None:
    parts = []
    for number, (height, width) in enumerate(((64, 96), (32, 48))):
        frames = [np.full((height, width, 3), 200 * number, np.uint8)] * 8
        write_clip(tmp_path / f"{number}.h264", frames, format="h264", options={"bf": "0"})
        parts.append((tmp_path / f"{number}.h264").read_bytes())
    (tmp_path / "a.h264").write_bytes(b"".join(parts))
    shown = read_frames(tmp_path / "a.h264", 32, 48)
    assert {picture.shape for picture in shown} == {(32, 48, 3)}
    assert shown[0].mean() < 20
    assert shown[-1].mean() > 180
