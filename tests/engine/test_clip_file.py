"""Clips as phones, cameras and programs write them, read as players show them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.clip import look_at_clip
from sana_stream.engine.picture import cover
from sana_stream.models.errors import ConfigError

from ..programs import needs
from .given_files import BLUE, GREEN, RED, far, scene, set_matrix, turned, write_clip

FPS = Fraction(16)


def silent(said: str) -> None:
    """What is said does not matter here."""


def taken(path: Path | str, height: int = 64, width: int = 96, first: int = 0) -> list[np.ndarray]:
    """A clip's pictures."""
    return list(look_at_clip(path, FPS, silent).pictures(height, width, first))


def test_a_clip_is_read_in_order_and_from_any_place(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 7 * i, np.uint8) for i in range(20)]
    write_clip(tmp_path / "a.mkv", frames, "ffv1", "bgr0")
    clip = look_at_clip(tmp_path / "a.mkv", FPS, silent)
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
    clip = look_at_clip(tmp_path / "a.mp4", FPS, silent)
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
    clip = look_at_clip(tmp_path / "a.mp4", FPS, silent)
    assert clip.size == (64, round(96 * aspect))
    assert (
        far(next(clip.pictures(*clip.size)), cover(scene()[None], *clip.size, float(aspect))[0]) < 8
    )


@pytest.mark.parametrize("aspect", [Fraction(1000), Fraction(1, 1000)])
def test_pixels_of_an_absurd_shape_count_as_square(tmp_path: Path, aspect: Fraction) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9, sample_aspect_ratio=aspect)
    assert look_at_clip(tmp_path / "a.mp4", FPS, silent).size == (64, 96)


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
    clip = look_at_clip(tmp_path / "a.mkv", FPS, told.append)
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
    clip = look_at_clip(tmp_path / "a.mkv", FPS, told.append)
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
    clip = look_at_clip(tmp_path / "a.mov", FPS, told.append)
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
    clip = look_at_clip(tmp_path / "a.nut", FPS, told.append)
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
        look_at_clip(tmp_path / "sound.wav", FPS, silent)
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        container.mux(stream.encode(sound))
    with pytest.raises(ConfigError, match="holds no picture"):
        look_at_clip(tmp_path / "sound.mkv", FPS, silent)


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


CUT = {
    "a.mp4": {"muxing": {"movflags": "faststart"}},
    "b.mp4": {"muxing": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "8"}},
    "a.mkv": {},
    "a.flv": {},
}


@pytest.mark.parametrize("name", CUT)
def test_a_clip_that_is_cut_short_is_told(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 96, 3), np.uint8)
    write_clip(tmp_path / name, noise, **CUT[name])
    whole = (tmp_path / name).read_bytes()
    told: list[str] = []
    assert look_at_clip(tmp_path / name, FPS, told.append).frames == 64
    assert told == []
    (tmp_path / name).write_bytes(whole[: len(whole) * 6 // 10])
    clip = look_at_clip(tmp_path / name, FPS, told.append)
    assert 25 < clip.frames < 50
    assert any("cut short" in line for line in told)
    again: list[str] = []
    once_more = replace(clip, note=again.append)
    assert len(list(once_more.pictures(64, 96))) == clip.frames
    assert any("cut short" in line for line in again)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_clip_of_which_nothing_is_left_is_refused(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name, [scene()] * 9, "mpeg4")
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:300])
    with pytest.raises(ConfigError, match=r"damaged|holds no picture"):
        look_at_clip(tmp_path / name, FPS, silent)


def test_other_files_and_addresses_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip("clip.mp4", [scene()] * 9)
    Path("list.mp4").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\nclip.mp4\n#EXT-X-ENDLIST\n"
    Path("play.mp4").write_text(playlist)
    os.mkfifo("pipe.mp4")
    for name in ("list.mp4", "play.mp4", "pipe.mp4", "concat:clip.mp4", "file:clip.mp4",
                 "none.mp4", "http://127.0.0.1:9/clip.mp4", ".",
                 "subfile,,start,0,end,9,,:clip.mp4"):  # fmt: skip
        with pytest.raises(ConfigError):
            look_at_clip(name, FPS, silent)
    for name in ("12:30.mp4", "%03d.mp4", "-x.mp4", "http:x.mp4", "a|b.mp4", "concat:x.mp4"):
        Path(name).write_bytes(Path("clip.mp4").read_bytes())
        assert look_at_clip(name, FPS, silent).frames == 9


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff", "bmp", "avif"])
def test_a_picture_is_no_clip(tmp_path: Path, kind: str) -> None:
    from .test_image_file import needs, save_oriented

    needs(kind)
    save_oriented(tmp_path / f"a.{kind}", 1) if kind != "bmp" else None
    if kind == "bmp":
        (tmp_path / "a.bmp").write_bytes(b"BM" + bytes(99))
    with pytest.raises(ConfigError, match="is a picture, not a clip"):
        look_at_clip(tmp_path / f"a.{kind}", FPS, silent)


def test_frames_of_too_many_pixels_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9)
    monkeypatch.setattr("sana_stream.engine.video_file.PIXELS", 64 * 96 - 1)
    with pytest.raises(ConfigError, match=r"cannot be read|megapixels"):
        look_at_clip(tmp_path / "a.mp4", FPS, silent)


def test_a_file_that_is_another_one_by_then_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9)
    clip = look_at_clip(tmp_path / "a.mp4", FPS, silent)
    write_clip(tmp_path / "b.mp4", [scene()] * 5)
    (tmp_path / "b.mp4").replace(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="has changed"):
        list(clip.pictures(64, 96))


def test_interlaced_frames_lose_their_combs(tmp_path: Path) -> None:
    """A bar that moves between the two fields of each frame."""
    frames = []
    for number in range(9):
        frame = np.zeros((64, 96, 3), np.uint8)
        frame[::2, 8 * number : 8 * number + 12] = 255
        frame[1::2, 8 * number + 4 : 8 * number + 16] = 255
        frames.append(frame)
    write_clip(
        tmp_path / "a.mpg", frames, "mpeg2video", fps=25,
        options={"flags": "+ilme+ildct", "alternate_scan": "1", "b": "4M"},
    )  # fmt: skip
    with av.open(str(tmp_path / "a.mpg")) as container:
        flagged = [frame.interlaced_frame for frame in container.decode(video=0)]
    if not any(flagged):
        pytest.skip("this libav does not write interlaced MPEG-2")
    clip = look_at_clip(tmp_path / "a.mpg", Fraction(25), silent)
    middle = list(clip.pictures(64, 96))[4].astype(int)
    combs = np.abs(middle[1:-1] - (middle[:-2] + middle[2:]) / 2).mean()
    assert len(flagged) == clip.frames == 9
    assert combs < 4


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=12))
def test_any_times_make_a_bounded_number_of_pictures(times: list[int]) -> None:
    from sana_stream.engine.video_timing import Clock, in_steps

    frames = []
    for time in times:
        frame = av.VideoFrame(16, 16, "gray")
        frame.pts, frame.time_base = time, Fraction(1, 100)
        frames.append(frame)
    steps = [count for _, count in in_steps(frames, Clock(Fraction(1, 25)), FPS)]
    assert all(count >= 0 for count in steps)
    assert 1 <= sum(steps) <= 60 * 16 * (len(times) + 1)
    assert len(steps) == len(times)


def test_colours_of_the_scene_are_as_the_tests_think() -> None:
    assert (tuple(scene()[0, 0]), tuple(scene()[40, 0]), tuple(scene()[40, 90])) == (
        GREEN,
        RED,
        BLUE,
    )


def noise_of(frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, 64, 96, 3), np.uint8)


@pytest.mark.programs
@needs("ffmpeg")
def test_frames_that_theora_repeats_are_no_damage(tmp_path: Path) -> None:
    moving, still = noise_of(8), np.repeat(scene()[None], 20, axis=0)
    write_clip(tmp_path / "a.mkv", np.concatenate([moving, still, moving]), "ffv1")
    command = ["ffmpeg", "-loglevel", "error", "-i", "a.mkv", "-c:v", "libtheora", "a.ogv"]
    if subprocess.run(command, cwd=tmp_path, check=False, timeout=60).returncode:
        pytest.skip("this ffmpeg has no libtheora")
    told: list[str] = []
    assert look_at_clip(tmp_path / "a.ogv", FPS, told.append).frames == 36
    assert told == []
    pictures = taken(tmp_path / "a.ogv")
    assert far(pictures[20], scene()) < 20 < far(pictures[30], scene())


def test_a_clip_whose_times_begin_late_is_whole(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", noise_of(16), times=[50_000 + 62 * n for n in range(16)])
    told: list[str] = []
    assert look_at_clip(tmp_path / "a.mkv", FPS, told.append).frames == 16
    assert told == []


@pytest.mark.parametrize("name", ["a.ts", "a.avi"])
def test_a_hole_in_a_clip_is_told(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name, noise_of(48), options={"g": "12", "bf": "0"})
    data = bytearray((tmp_path / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    (tmp_path / name).write_bytes(data)
    told: list[str] = []
    assert look_at_clip(tmp_path / name, FPS, told.append).frames > 30
    assert any("is damaged" in line for line in told)


def test_a_ts_that_breaks_off_in_a_packet_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ts", noise_of(32))
    whole = (tmp_path / "a.ts").read_bytes()
    for packets, cut in ((len(whole) // 188, False), (len(whole) // 376, True)):
        (tmp_path / "a.ts").write_bytes(whole[: packets * 188 + 50 * cut])
        told: list[str] = []
        look_at_clip(tmp_path / "a.ts", FPS, told.append)
        assert any("cut short" in line for line in told) == cut


def test_short_pieces_of_ts_that_are_joined_play_one_after_the_other(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ts", noise_of(16))
    (tmp_path / "b.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    told: list[str] = []
    assert look_at_clip(tmp_path / "b.ts", FPS, told.append).frames == 32
    assert any("jump" in line for line in told)


def test_an_address_is_no_clip() -> None:
    with pytest.raises(ConfigError, match=r"http://example\.org/a\.mp4 is an address"):
        look_at_clip("http://example.org/a.mp4", FPS, silent)
