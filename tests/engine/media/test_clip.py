"""Clips are shown as players show them: orientation, shape, colours, times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sana_stream.engine.media.clip import inspect_clip
from sana_stream.engine.media.resize import cover
from sana_stream.errors import ConfigError

from .decoded_clips import FPS, silent, taken
from .input_files import far, scene, set_matrix, turned, write_clip


def test_a_clip_is_read_in_order_and_from_any_place(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 7 * i, np.uint8) for i in range(20)]
    write_clip(tmp_path / "a.mkv", frames, "ffv1", "bgr0")
    clip = inspect_clip(tmp_path / "a.mkv", FPS, silent)
    assert (clip.frames, clip.size) == (20, (32, 48))
    for first in (0, 1, 13, 19, 20):
        assert np.array_equal(list(clip.pictures(32, 48, first)), frames[first:]) or first == 20
    assert list(clip.pictures(32, 48, 20)) == []


MATRICES = {  # EXIF orientation that shows the same as an MP4's matrix (a, b, c, d)
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
def test_a_phones_clip_stands_upright(tmp_path: Path, orientation: int) -> None:
    stored = turned(scene(), orientation)
    write_clip(tmp_path / "a.mp4", [stored] * 9, options={"crf": "5"})
    set_matrix(tmp_path / "a.mp4", MATRICES[orientation], (stored.shape[1], stored.shape[0]))
    clip = inspect_clip(tmp_path / "a.mp4", FPS, silent)
    assert clip.size == (64, 96)
    assert far(next(clip.pictures(64, 96)), scene()) < 8


def test_the_turns_of_libav_are_the_same(tmp_path: Path) -> None:
    """The matrices above against libav's own reading of them, where it has a word for it."""
    angles = {1: 0, 3: 180, 6: 270, 8: 90}  # counted against the clock
    for orientation, angle in angles.items():
        stored = turned(scene(), orientation)
        write_clip(tmp_path / "a.mp4", [stored] * 3)
        set_matrix(tmp_path / "a.mp4", MATRICES[orientation], (stored.shape[1], stored.shape[0]))
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert next(container.decode(video=0)).rotation % 360 == angle


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2), Fraction(16, 15)])
def test_pixels_that_are_not_square_are_stretched(tmp_path: Path, aspect: Fraction) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9, sample_aspect_ratio=aspect)
    clip = inspect_clip(tmp_path / "a.mp4", FPS, silent)
    assert clip.size == (64, round(96 * aspect))
    assert (
        far(next(clip.pictures(*clip.size)), cover(scene()[None], *clip.size, float(aspect))[0]) < 8
    )


@pytest.mark.parametrize("aspect", [Fraction(1000), Fraction(1, 1000)])
def test_pixels_of_an_absurd_shape_count_as_square(tmp_path: Path, aspect: Fraction) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9, sample_aspect_ratio=aspect)
    assert inspect_clip(tmp_path / "a.mp4", FPS, silent).size == (64, 96)


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_are_honoured(tmp_path: Path, matrix: int, full: bool) -> None:
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
    assert far(taken(tmp_path / "a.mkv")[0], scene()) < 3


def pq_of(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, 16 bits."""
    y = (nits / 10000) ** 0.1593017578125
    return np.round(65535 * ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375)


def hdr_clip(path: Path, levels: np.ndarray, transfer: int) -> None:
    """A clip of grey columns with 10 bits of these values (16 bits) in BT.2020."""
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


def test_hdr_is_shown_in_sdr_and_told(tmp_path: Path) -> None:
    nits = np.array([0.0, 20, 50, 100, 203, 400, 1000, 4000])
    hdr_clip(tmp_path / "a.mkv", pq_of(nits), 16)
    told: list[str] = []
    clip = inspect_clip(tmp_path / "a.mkv", FPS, told.append)
    shown = next(clip.pictures(32, 64))[16, 4::8, 0].astype(int)
    assert any("is HDR (PQ)" in line for line in told)
    assert (np.diff(shown[:7]) > 2).all()  # everything up to 1000 cd/m2 can be told apart
    assert shown[0] == 0
    assert 235 < shown[4] < 250  # reference white
    assert shown[6:].min() >= 253
    srgb = 255 * (1.055 * (nits[1:4] / 203) ** (1 / 2.4) - 0.055)
    assert np.abs(shown[1:4] - srgb).max() < 6  # what is darker stays as it is


def test_hlg_is_shown_in_sdr_and_told(tmp_path: Path) -> None:
    hdr_clip(tmp_path / "a.mkv", np.array([0.0, 0.25, 0.5, 0.75, 1, 0, 0, 0]) * 65535, 18)
    told: list[str] = []
    clip = inspect_clip(tmp_path / "a.mkv", FPS, told.append)
    shown = next(clip.pictures(32, 64))[16, 4:40:8, 0].astype(int)
    assert any("is HDR (HLG)" in line for line in told)
    assert (np.diff(shown) > 2).all()
    assert 235 < shown[3] < 250  # 75 % is reference white (ITU-R BT.2408)


def test_transparent_parts_of_a_clip_are_white_and_told(tmp_path: Path) -> None:
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, :48] = 0
    frame = np.concatenate((scene(), alpha), axis=2)
    write_clip(tmp_path / "a.mov", [frame] * 9, "png", "rgba")
    told: list[str] = []
    clip = inspect_clip(tmp_path / "a.mov", FPS, told.append)
    expected = scene()
    expected[:, :48] = 255
    assert far(next(clip.pictures(64, 96)), expected) == 0
    assert told == [f"{tmp_path}/a.mov: its transparent parts are shown on white"]


def test_frames_are_shown_until_the_next_one(tmp_path: Path) -> None:
    shades = [np.full((32, 48, 3), shade, np.uint8) for shade in (0, 80, 160, 240)]
    write_clip(tmp_path / "a.mkv", shades, "ffv1", "bgr0", times=[500, 1000, 1250, 2000])
    shown = [int(picture[0, 0, 0]) for picture in taken(tmp_path / "a.mkv", 32, 48)]
    assert shown == [0] * 8 + [80] * 4 + [160] * 12 + [240] * 12


@pytest.mark.parametrize("times", [[0, 40, 10**9], [0, 10**9, 10**9 + 40], [10**9, 40, 80]])
def test_times_that_jump_repeat_no_frame_for_ever(tmp_path: Path, times: list[int]) -> None:
    write_clip(tmp_path / "a.nut", [scene()] * 3, "ffv1", "bgr0", times=sorted(times))
    told: list[str] = []
    clip = inspect_clip(tmp_path / "a.nut", FPS, told.append)
    assert clip.frames < 20
    assert any("times jump" in line for line in told)
    assert len(list(clip.pictures(64, 96))) == clip.frames


def test_a_cover_picture_and_sound_are_not_the_video(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", [scene()] * 9)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ConfigError, match="no clip of a known kind"):
        inspect_clip(tmp_path / "sound.wav", FPS, silent)
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        container.mux(stream.encode(sound))
    with pytest.raises(ConfigError, match="holds no picture"):
        inspect_clip(tmp_path / "sound.mkv", FPS, silent)


def test_a_size_that_changes_midway_is_followed(tmp_path: Path) -> None:
    parts = []
    for number, (height, width) in enumerate(((64, 96), (32, 48))):
        frames = [np.full((height, width, 3), 200 * number, np.uint8)] * 8
        write_clip(tmp_path / f"{number}.h264", frames, format="h264", options={"bf": "0"})
        parts.append((tmp_path / f"{number}.h264").read_bytes())
    (tmp_path / "a.h264").write_bytes(b"".join(parts))
    shown = taken(tmp_path / "a.h264", 32, 48)
    assert {picture.shape for picture in shown} == {(32, 48, 3)}
    assert shown[0].mean() < 20
    assert shown[-1].mean() > 180
