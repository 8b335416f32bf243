"""Clips that are cut short, damaged or no clips at all are reported or refused."""

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

from sana_stream.engine.media.clip import inspect_clip
from sana_stream.errors import ConfigError

from ...programs import needs
from .decoded_clips import FPS, silent, taken
from .input_files import BLUE, GREEN, RED, far, scene, write_clip

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
    assert inspect_clip(tmp_path / name, FPS, told.append).frames == 64
    assert told == []
    (tmp_path / name).write_bytes(whole[: len(whole) * 6 // 10])
    clip = inspect_clip(tmp_path / name, FPS, told.append)
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
        inspect_clip(tmp_path / name, FPS, silent)


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
            inspect_clip(name, FPS, silent)
    for name in ("12:30.mp4", "%03d.mp4", "-x.mp4", "http:x.mp4", "a|b.mp4", "concat:x.mp4"):
        Path(name).write_bytes(Path("clip.mp4").read_bytes())
        assert inspect_clip(name, FPS, silent).frames == 9


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff", "bmp", "avif"])
def test_a_picture_is_no_clip(tmp_path: Path, kind: str) -> None:
    from .test_image_file import needs, save_oriented

    needs(kind)
    save_oriented(tmp_path / f"a.{kind}", 1) if kind != "bmp" else None
    if kind == "bmp":
        (tmp_path / "a.bmp").write_bytes(b"BM" + bytes(99))
    with pytest.raises(ConfigError, match="is a picture, not a clip"):
        inspect_clip(tmp_path / f"a.{kind}", FPS, silent)


def test_frames_of_too_many_pixels_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9)
    monkeypatch.setattr("sana_stream.engine.media.video_file.PIXELS", 64 * 96 - 1)
    with pytest.raises(ConfigError, match=r"cannot be read|megapixels"):
        inspect_clip(tmp_path / "a.mp4", FPS, silent)


def test_a_file_that_is_another_one_by_then_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9)
    clip = inspect_clip(tmp_path / "a.mp4", FPS, silent)
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
    clip = inspect_clip(tmp_path / "a.mpg", Fraction(25), silent)
    middle = list(clip.pictures(64, 96))[4].astype(int)
    combs = np.abs(middle[1:-1] - (middle[:-2] + middle[2:]) / 2).mean()
    assert len(flagged) == clip.frames == 9
    assert combs < 4


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=12))
def test_any_times_make_a_bounded_number_of_pictures(times: list[int]) -> None:
    from sana_stream.engine.media.video_timing import Clock, in_steps

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
    assert inspect_clip(tmp_path / "a.ogv", FPS, told.append).frames == 36
    assert told == []
    pictures = taken(tmp_path / "a.ogv")
    assert far(pictures[20], scene()) < 20 < far(pictures[30], scene())


def test_a_clip_whose_times_begin_late_is_whole(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", noise_of(16), times=[50_000 + 62 * n for n in range(16)])
    told: list[str] = []
    assert inspect_clip(tmp_path / "a.mkv", FPS, told.append).frames == 16
    assert told == []


@pytest.mark.parametrize("name", ["a.ts", "a.avi"])
def test_a_hole_in_a_clip_is_told(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name, noise_of(48), options={"g": "12", "bf": "0"})
    data = bytearray((tmp_path / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    (tmp_path / name).write_bytes(data)
    told: list[str] = []
    assert inspect_clip(tmp_path / name, FPS, told.append).frames > 30
    assert any("is damaged" in line for line in told)


def test_a_ts_that_breaks_off_in_a_packet_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ts", noise_of(32))
    whole = (tmp_path / "a.ts").read_bytes()
    for packets, cut in ((len(whole) // 188, False), (len(whole) // 376, True)):
        (tmp_path / "a.ts").write_bytes(whole[: packets * 188 + 50 * cut])
        told: list[str] = []
        inspect_clip(tmp_path / "a.ts", FPS, told.append)
        assert any("cut short" in line for line in told) == cut


def test_short_pieces_of_ts_that_are_joined_play_one_after_the_other(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ts", noise_of(16))
    (tmp_path / "b.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    told: list[str] = []
    assert inspect_clip(tmp_path / "b.ts", FPS, told.append).frames == 32
    assert any("jump" in line for line in told)


def test_an_address_is_no_clip() -> None:
    with pytest.raises(ConfigError, match=r"http://example\.org/a\.mp4 is an address"):
        inspect_clip("http://example.org/a.mp4", FPS, silent)
