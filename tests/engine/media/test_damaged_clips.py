"""Inspection of clips that are truncated, damaged or not clips: notes and errors."""

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
from .decoded_clips import FPS, ignore_note, read_frames
from .input_files import BLUE, GREEN, RED, mean_difference, scene, write_clip

CUT = {
    "a.mp4": {"muxing": {"movflags": "faststart"}},
    "b.mp4": {"muxing": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "8"}},
    "a.mkv": {},
    "a.flv": {},
}


@pytest.mark.parametrize("name", CUT)
def test_inspect_truncated_clip_notes_it(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 96, 3), np.uint8)
    write_clip(tmp_path / name, noise, **CUT[name])
    whole = (tmp_path / name).read_bytes()
    notes: list[str] = []
    assert inspect_clip(tmp_path / name, FPS, notes.append).frames == 64
    assert notes == []
    (tmp_path / name).write_bytes(whole[: len(whole) * 6 // 10])
    clip = inspect_clip(tmp_path / name, FPS, notes.append)
    assert 25 < clip.frames < 50
    assert any("truncated" in line for line in notes)
    again: list[str] = []
    copy = replace(clip, note=again.append)
    assert len(list(copy.pictures(64, 96))) == clip.frames
    assert any("truncated" in line for line in again)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_inspect_clip_without_frames_raises(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name, [scene()] * 9, "mpeg4")
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:300])
    with pytest.raises(ConfigError, match=r"damaged|has no"):
        inspect_clip(tmp_path / name, FPS, ignore_note)


def test_inspect_playlist_or_url_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
            inspect_clip(name, FPS, ignore_note)
    for name in ("12:30.mp4", "%03d.mp4", "-x.mp4", "http:x.mp4", "a|b.mp4", "concat:x.mp4"):
        Path(name).write_bytes(Path("clip.mp4").read_bytes())
        assert inspect_clip(name, FPS, ignore_note).frames == 9


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff", "bmp", "avif"])
def test_inspect_image_raises(tmp_path: Path, kind: str) -> None:
    from .test_image_file import needs, save_oriented

    needs(kind)
    save_oriented(tmp_path / f"a.{kind}", 1) if kind != "bmp" else None
    if kind == "bmp":
        (tmp_path / "a.bmp").write_bytes(b"BM" + bytes(99))
    with pytest.raises(ConfigError, match="is a picture, not a clip"):
        inspect_clip(tmp_path / f"a.{kind}", FPS, ignore_note)


def test_inspect_clip_with_too_many_pixels_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9)
    monkeypatch.setattr("sana_stream.engine.media.video_file.PIXELS", 64 * 96 - 1)
    with pytest.raises(ConfigError, match=r"cannot be read|megapixels"):
        inspect_clip(tmp_path / "a.mp4", FPS, ignore_note)


def test_read_clip_changed_since_inspection_raises(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [scene()] * 9)
    clip = inspect_clip(tmp_path / "a.mp4", FPS, ignore_note)
    write_clip(tmp_path / "b.mp4", [scene()] * 5)
    (tmp_path / "b.mp4").replace(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="has changed"):
        list(clip.pictures(64, 96))


def test_interlaced_clip_is_deinterlaced(tmp_path: Path) -> None:
    """A bar moves between the two fields of each frame."""
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
    assert any(flagged)
    clip = inspect_clip(tmp_path / "a.mpg", Fraction(25), ignore_note)
    middle = list(clip.pictures(64, 96))[4].astype(int)
    combs = np.abs(middle[1:-1] - (middle[:-2] + middle[2:]) / 2).mean()
    assert len(flagged) == clip.frames == 9
    assert combs < 4


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=12))
def test_any_timestamps_give_bounded_frame_count(times: list[int]) -> None:
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


def test_scene_has_expected_colours() -> None:
    assert (tuple(scene()[0, 0]), tuple(scene()[40, 0]), tuple(scene()[40, 90])) == (
        GREEN,
        RED,
        BLUE,
    )


def noise_of(frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, 64, 96, 3), np.uint8)


@pytest.mark.programs
@needs("ffmpeg")
def test_repeated_theora_frames_are_not_damage(tmp_path: Path) -> None:
    moving, still = noise_of(8), np.repeat(scene()[None], 20, axis=0)
    write_clip(tmp_path / "a.mkv", np.concatenate([moving, still, moving]), "ffv1")
    command = ["ffmpeg", "-loglevel", "error", "-i", "a.mkv", "-c:v", "libtheora", "a.ogv"]
    known = subprocess.run(["ffmpeg", "-v", "error", "-encoders"], capture_output=True, check=True)
    if b" libtheora " not in known.stdout:
        pytest.skip("this ffmpeg has no libtheora")
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    notes: list[str] = []
    assert inspect_clip(tmp_path / "a.ogv", FPS, notes.append).frames == 36
    assert notes == []
    pictures = read_frames(tmp_path / "a.ogv")
    assert mean_difference(pictures[20], scene()) < 20 < mean_difference(pictures[30], scene())


def test_clip_with_late_start_is_complete(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", noise_of(16), times=[50_000 + 62 * n for n in range(16)])
    notes: list[str] = []
    assert inspect_clip(tmp_path / "a.mkv", FPS, notes.append).frames == 16
    assert notes == []


@pytest.mark.parametrize("name", ["a.ts", "a.avi"])
def test_inspect_clip_with_missing_data_notes_damage(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name, noise_of(48), options={"g": "12", "bf": "0"})
    data = bytearray((tmp_path / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    (tmp_path / name).write_bytes(data)
    notes: list[str] = []
    assert inspect_clip(tmp_path / name, FPS, notes.append).frames > 30
    assert any("is damaged" in line for line in notes)


def test_inspect_ts_truncated_within_a_packet_notes_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ts", noise_of(32))
    whole = (tmp_path / "a.ts").read_bytes()
    for packets, cut in ((len(whole) // 188, False), (len(whole) // 376, True)):
        (tmp_path / "a.ts").write_bytes(whole[: packets * 188 + 50 * cut])
        notes: list[str] = []
        inspect_clip(tmp_path / "a.ts", FPS, notes.append)
        assert any("truncated" in line for line in notes) == cut


def test_concatenated_ts_plays_completely(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ts", noise_of(16))
    (tmp_path / "b.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    notes: list[str] = []
    assert inspect_clip(tmp_path / "b.ts", FPS, notes.append).frames == 32
    assert any("jump" in line for line in notes)


def test_inspect_address_raises() -> None:
    with pytest.raises(ConfigError, match=r"http://example\.org/a\.mp4 is an address"):
        inspect_clip("http://example.org/a.mp4", FPS, ignore_note)
