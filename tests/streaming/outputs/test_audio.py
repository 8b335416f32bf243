"""The sound of a file in step with the frames, repeated, through resumption and in live outputs."""

from __future__ import annotations

import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sana_stream.engine.block import BlockPart
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming import EncoderSettings, OutputOptions, StreamSpec, VideoFormat
from sana_stream.streaming.audio import SAMPLE_RATE, AudioLoop, AudioTrack
from sana_stream.streaming.containers.registry import create_muxer
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.web.live_feed import LiveFeed

from ...command import run
from ..blocks import HEIGHT, WIDTH, blocks, pour

FPS = 32
VIDEO = VideoFormat(WIDTH, HEIGHT, FPS)
PROMPTS = ("a red boat", "a red boat", "night falls")
SECONDS = Fraction(7, 10)  # of the sound, less than a file
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".ts")
KINDS = pytest.mark.parametrize("suffix", SUFFIXES)
COUNT = 3  # blocks of a file
FRAMES = 16 * COUNT + 1


def write_sound(path: Path, rate: int = 44_100) -> Path:
    """A tone whose frequency rises, so that each moment of it is another."""
    time = np.arange(round(rate * SECONDS)) / rate
    samples = (8000 * np.sin(2 * np.pi * (300 + 400 * time) * time)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> AudioTrack:
    return AudioTrack(AudioLoop(write_sound(tmp_path_factory.mktemp("sound") / "a.wav")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, track: AudioTrack) -> dict[str, Path]:
    """A file of each kind that was written without disturbance."""
    folder = tmp_path_factory.mktemp("whole")
    files = {suffix: folder / f"{suffix[1:]}{suffix}" for suffix in SUFFIXES}
    for path in files.values():
        write(path, track)
    return files


def write(
    path: Path, track: AudioTrack, count: int = COUNT, close: bool = True, **more: Any
) -> None:
    kept = more.get("resume_frames", 0)
    output = open_output(path, StreamSpec(VIDEO, audio=track), OutputOptions(**more))
    pour(output, [b for b in blocks(count, prompts=PROMPTS) if b.start >= kept])
    if close:
        output.close()


def sound_of(path: Path) -> tuple[np.ndarray, float]:
    """A file's sound, mono, from the first frame's time on, and that time in seconds."""
    with av.open(str(path)) as container:
        begin = min(float(frame.time or 0) for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    start = round((float(frames[0].time or 0) - begin) * SAMPLE_RATE)
    parts = [frame.to_ndarray()[0] for frame in frames]
    return np.concatenate([np.zeros(max(0, start), np.float32), *parts])[max(0, -start) :], begin


def packets_of(path: Path) -> list[tuple[str, int | None, int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(p.stream.type, p.pts, p.dts, bytes(p)) for p in container.demux()]


def check_sound(path: Path, track: AudioTrack, seconds: float, start: float = 0) -> None:
    found, _ = sound_of(path)
    assert len(found) / SAMPLE_RATE == pytest.approx(seconds, abs=0.03)
    first, count = 4096, int(seconds * SAMPLE_RATE) - 8192
    begin = first + round(start * SAMPLE_RATE)
    errors = {
        shift: np.abs(
            found[first : first + count] - track.loop.read(begin + shift, count)[:, 0] / 32768
        ).mean()
        for shift in (*range(-48, 49, 4), -480, 480)  # Matroska has times in milliseconds
    }
    best = min(errors, key=errors.__getitem__)
    assert abs(best) <= 48, "a millisecond"
    assert errors[best] < 0.012 < errors[-480]


@KINDS
def test_sound_plays_with_the_frames_and_is_repeated(
    whole: dict[str, Path], track: AudioTrack, suffix: str
):
    check_sound(whole[suffix], track, FRAMES / FPS)
    with av.open(str(whole[suffix])) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


@KINDS
def test_growing_file_has_its_sound_in_step(tmp_path: Path, track: AudioTrack, suffix: str):
    write(path := tmp_path / f"a{suffix}", track, count=2, close=False)
    check_sound(path, track, 33 / FPS)


@KINDS
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_resumed_file_equals_an_undisturbed_one(
    tmp_path: Path, whole: dict[str, Path], track: AudioTrack, suffix: str, closed: bool
):
    write(path := tmp_path / f"a{suffix}", track, count=2, close=closed)
    write(path, track, resume_frames=17)
    if suffix == ".ts":  # whose counters begin again
        assert packets_of(path) == packets_of(whole[suffix])
        return
    first = b"\x1f\x43\xb6\x75" if suffix in (".mkv", ".webm") else b""  # after a random id
    ours, theirs = path.read_bytes(), whole[suffix].read_bytes()
    assert ours[ours.index(first) :] == theirs[theirs.index(first) :]


@KINDS
def test_a_file_with_sound_is_not_continued_without(tmp_path: Path, track: AudioTrack, suffix: str):
    write(path := tmp_path / f"a{suffix}", track, count=1)
    before = path.read_bytes()
    with pytest.raises(InvalidOutputError, match="cannot be resumed: it has sound and is contin"):
        open_output(path, StreamSpec(VIDEO), OutputOptions(resume_frames=17))
    assert path.read_bytes() == before
    output = open_output(silent := tmp_path / f"b{suffix}", StreamSpec(VIDEO))
    pour(output, blocks(1))
    del output  # as killed: its lock is free
    with pytest.raises(InvalidOutputError, match="cannot be resumed: it has no sound"):
        write(silent, track, resume_frames=17)


def test_each_file_of_several_continues_the_sound(tmp_path: Path, track: AudioTrack):
    write(tmp_path / "a.mp4", track, segment_seconds=0.5)
    check_sound(tmp_path / "a-0001.mp4", track, 17 / FPS)
    check_sound(tmp_path / "a-0002.mp4", track, 16 / FPS, start=17 / FPS)


@pytest.mark.parametrize("codec", ["h265", "av1", "vp9"])
def test_growing_file_of_any_codec_begins_with_its_sound(
    tmp_path: Path, track: AudioTrack, codec: str
):
    spec = StreamSpec(VIDEO, EncoderSettings(codec), audio=track)
    output = open_output(path := tmp_path / "a.mp4", spec)
    pour(output, blocks(2))
    assert sound_of(path)[1] == 0
    check_sound(path, track, 33 / FPS)
    output.close()
    assert sound_of(path)[1] == 0


def test_playlist_has_the_sound(tmp_path: Path, track: AudioTrack):
    write(tmp_path / "live.m3u8", track, count=2)
    parts = [tmp_path / "init.mp4", *sorted(tmp_path.glob("*.m4s"))]
    (joined := tmp_path / "joined.mp4").write_bytes(b"".join(each.read_bytes() for each in parts))
    check_sound(joined, track, 33 / FPS)


@pytest.mark.parametrize("container", ["mpegts", "nut", "flv"])
def test_stream_of_any_container_has_the_sound_and_holds_nothing_back(
    tmp_path: Path, track: AudioTrack, container: str
):
    muxer = create_muxer(container, StreamSpec(VIDEO, audio=track))
    (path := tmp_path / "a").write_bytes(muxer.header() + b"".join(map(muxer.add, blocks(2))))
    check_sound(path, track, 33 / FPS)
    with av.open(str(path)) as stream:
        assert sum(1 for _ in stream.decode(video=0)) == 33


def test_page_has_the_sound_also_from_a_later_block_on(tmp_path: Path, track: AudioTrack):
    feed = LiveFeed(VIDEO, audio=track)
    assert feed.mime.endswith(',mp4a.40.2"')
    whole, *rest = blocks(3)
    first = BlockPart(0, 0, 0, whole.frames[:5], whole.prompt)
    for part in (first, replace(whole, start=5, frames=whole.frames[5:]), *rest):
        feed.write(part)
    parts = [each.data for each in feed.segments()]
    (path := tmp_path / "a.mp4").write_bytes(feed.init + b"".join(parts))
    check_sound(path, track, 49 / FPS)
    path.write_bytes(feed.init + b"".join(parts[2:]))
    check_sound(path, track, 32 / FPS, start=17 / FPS)
    assert ",mp4a" not in LiveFeed(VIDEO).mime


def test_blocks_of_one_frame_have_their_sound(tmp_path: Path, track: AudioTrack):
    spec = StreamSpec(VideoFormat(WIDTH, HEIGHT, 60), audio=track)  # a frame is less than a packet
    output = open_output(path := tmp_path / "a.mp4", spec)
    pour(output, blocks(30, size=1))
    output.close()
    check_sound(path, track, 31 / 60)


def test_loop_is_exact_wherever_it_is_read(tmp_path: Path):
    loop = AudioLoop(write_sound(tmp_path / "a.wav", SAMPLE_RATE))
    length = round(SAMPLE_RATE * SECONDS)
    whole = loop.read(0, 3 * length)
    assert np.array_equal(whole[:length], whole[length : 2 * length])
    assert np.array_equal(loop.read(length - 10, 20), whole[length - 10 : length + 10])
    assert np.array_equal(loop.read(7 * length + 5, 9), whole[5:14])
    early = loop.read(-5, 10)
    assert not early[:5].any()
    assert np.array_equal(early[5:], whole[:5])


def mp3_of(path: Path, rate: int) -> bytes:
    """A tone of half a second as MP3."""
    tone = (8000 * np.sin(np.arange(rate // 2) * 2000 / rate)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=rate)
        stream.format, stream.layout = "s16p", "mono"
        for start in range(0, len(tone) - 1152, 1152):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1152], "s16p", "mono")
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_damaged_parts_and_other_rates_end_no_sound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "a.mp3"
    tones = [mp3_of(path, rate) for rate in (44_100, 32_000)]
    path.write_bytes(b"".join(tones))  # joined, as `cat` does it
    whole = AudioLoop(path).read(0, SAMPLE_RATE)
    assert whole[-SAMPLE_RATE // 4 :].any()
    path.write_bytes(tones[0])
    whole = AudioLoop(path).read(0, SAMPLE_RATE)
    caplog.clear()
    middle = len(tones[0]) // 2
    path.write_bytes(tones[0][:middle] + bytes(600) + tones[0][middle + 600 :])
    found = AudioLoop(path)
    assert np.array_equal(found.read(0, 4800), whole[:4800])
    assert len(found.read(0, 2 * SAMPLE_RATE)) == 2 * SAMPLE_RATE
    assert [r.getMessage() for r in caplog.records] == [
        f"audio: {path}: damaged parts are left out"
    ]
    again = AudioLoop(path)
    assert np.array_equal(again.read(0, SAMPLE_RATE), found.read(0, SAMPLE_RATE))


def test_tags_of_any_encoding_and_playlists(tmp_path: Path):
    path = write_sound(tmp_path / "a.wav")
    title = "Café".encode("latin-1") + b"\0\0\0\0"
    tags = b"INFOINAM" + len(title).to_bytes(4, "little") + title
    data = path.read_bytes() + b"LIST" + len(tags).to_bytes(4, "little") + tags
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    assert AudioLoop(path).read(0, 4800).any()
    names = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{path}\n#EXT-X-ENDLIST\n"
    (playlist := tmp_path / "music.mp3").write_text(names)  # names other files
    with pytest.raises(InvalidOutputError, match=r"audio: .*music\.mp3"):
        AudioLoop(playlist)


def test_containers_without_sound_are_refused(track: AudioTrack):
    with pytest.raises(InvalidOutputError, match="'y4m' takes no sound here: use mp4, mov"):
        create_muxer("y4m", StreamSpec(VIDEO, audio=track))


def test_command_line_adds_the_sound(tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]):
    write_sound(Path("a.wav"))
    words = ("--prompt", "a fox", "--frames", "32", "--audio", "a.wav")
    assert run(*words, "--out", "a.mp4", "--out", "a.y4m", *tiny) == 0
    assert "a.y4m: has no sound" in capfd.readouterr().err
    check_sound(Path("a.mp4"), AudioTrack(AudioLoop(Path("a.wav"))), 2)


def test_what_is_no_sound_is_refused_before_anything_is_made(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    Path("text.mp3").write_text("no sound")
    Path("empty.mp3").touch()
    write_sound(Path("a.wav"))
    words = ("--prompt", "a fox", "--frames", "9")
    assert run(*words, "--out", "silent.mp4", *tiny) == 0
    for audio, out, message in (
        ("none.mp3", "b.mp4", "audio: none.mp3: no such file"),
        ("text.mp3", "b.mp4", "audio: text.mp3: "),
        ("empty.mp3", "b.mp4", "audio: empty.mp3: "),
        ("silent.mp4", "b.mp4", "audio: silent.mp4: no sound is in it"),
        (".", "b.mp4", "audio: .: it is not a regular file"),
        ("a.wav", "b.y4m", "--audio needs an output that can have sound"),
        ("a.wav", "a.wav.mp4", ""),
    ):
        capfd.readouterr()
        code = run(*words, "--audio", audio, "--out", out, *tiny)
        if message:
            assert code == 2
            assert message in capfd.readouterr().err.splitlines()[-1]
            assert not Path(out).exists()
        else:
            assert code == 0
