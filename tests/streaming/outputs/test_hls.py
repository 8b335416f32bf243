"""A playlist and its segments: played, windowed, ended; and a video in several files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import av
import pytest

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.encoder import fall_back_to_software
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.run_mark import ANONYMOUS, run_mark
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

from ...programs import needs
from ..blocks import FPS, HEIGHT, WIDTH, blocks, make_block, number_of

VIDEO = VideoFormat(WIDTH, HEIGHT, FPS)
SPEC = StreamSpec(VIDEO)


def shown(path: Path) -> list[int]:
    with av.open(str(path), "r") as container:
        return [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def test_a_playlist_names_every_block_and_ends(tmp_path: Path) -> None:
    playlist = tmp_path / "web" / "live.m3u8"
    output = open_output(str(playlist), SPEC)
    seen: list[int] = []
    for block in blocks(4):
        output.write(block)
        text = playlist.read_text()
        names = re.findall(r"^segment.*$", text, re.MULTILINE)
        seen.append(len(names))
        assert all((playlist.parent / name).exists() for name in names)
        assert "ENDLIST" not in text
    output.close()
    assert seen == [1, 2, 3, 4]
    assert playlist.read_text() == (
        f"#EXTM3U\n#EXT-X-VERSION:7\n# {run_mark(ANONYMOUS)}\n"
        "#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-MAP:URI="init.mp4"\n'
        "#EXTINF:1.062500,\nsegment000000.m4s\n#EXTINF:1.000000,\nsegment000001.m4s\n"
        "#EXTINF:1.000000,\nsegment000002.m4s\n#EXTINF:1.000000,\nsegment000003.m4s\n"
        "#EXT-X-ENDLIST\n"
    )
    assert shown(playlist) == list(range(65))


@pytest.mark.programs
@needs("ffmpeg")
def test_ffmpeg_plays_the_playlist(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "live.m3u8"), SPEC)
    for block in blocks(3):
        output.write(block)
    output.close()
    out = tmp_path / "out.mkv"
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "live.m3u8"), "-c:v", "ffv1", str(out)]
    assert subprocess.run(command, timeout=120).returncode == 0
    assert shown(out) == list(range(49))


def test_a_window_forgets_old_blocks(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "live.m3u8"), SPEC, OutputOptions(window=3))
    for block in blocks(6):
        output.write(block)
    output.close()
    text = (tmp_path / "live.m3u8").read_text()
    assert "#EXT-X-MEDIA-SEQUENCE:3\n" in text
    assert "EVENT" not in text
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["init.mp4", "live.m3u8", *(f"segment00000{n}.m4s" for n in (3, 4, 5))]
    assert shown(tmp_path / "live.m3u8") == list(range(49, 97))


def test_a_window_keeps_its_target_duration(tmp_path: Path) -> None:
    """Also where a cut brings a block that is longer than the first one."""
    longer, *rest = blocks(6)
    longest = len(longer.frames)
    options = OutputOptions(window=3, longest_block=longest)
    output, found = open_output(str(tmp_path / "live.m3u8"), SPEC, options), set()
    for block in (*rest[:2], make_block(3, rest[2].start, longest), *rest[4:]):
        output.write(block)
        text = (tmp_path / "live.m3u8").read_text()
        found |= set(re.findall("TARGETDURATION:(.*)", text))
    output.close()
    assert found == {"2"}


def test_a_stream_that_ends_before_its_first_block_leaves_nothing(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "live.m3u8"), SPEC)
    output.close()
    assert list(tmp_path.iterdir()) == []


def test_an_old_stream_is_replaced_only_when_asked(tmp_path: Path) -> None:
    playlist = tmp_path / "live.m3u8"
    for count, overwrite in ((4, False), (2, True)):
        output = open_output(str(playlist), SPEC, OutputOptions(overwrite=overwrite))
        for block in blocks(count):
            output.write(block)
        output.close()
        with pytest.raises(InvalidOutputError, match="exists"):
            open_output(str(playlist), SPEC)
    assert shown(playlist) == list(range(33))
    assert not (tmp_path / "segment000002.m4s").exists()


def test_a_long_video_in_several_files(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "a.mp4"), SPEC, OutputOptions(segment_seconds=2.0))
    for block in blocks(5):
        output.write(block)
    assert output.frames == 81
    output.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"a-000{n}.{end}" for n in (1, 2, 3) for end in ("mp4", "vtt")]
    assert shown(tmp_path / "a-0001.mp4") == list(range(33))
    assert shown(tmp_path / "a-0002.mp4") == list(range(33, 65))
    assert shown(tmp_path / "a-0003.mp4") == list(range(65, 81))
    with av.open(str(tmp_path / "a-0002.mp4")) as container:
        assert container.start_time == 0
        assert container.duration == 2_000_000
    with pytest.raises(InvalidOutputError, match=r"a-0001\.mp4 exists"):
        open_output(str(tmp_path / "a.mp4"), SPEC, OutputOptions(segment_seconds=2.0))


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("live.m3u8", {"window": 2}, "window 2: players need at least 3 blocks"),
        ("a.mp4", {"window": 5}, "only a playlist"),
        ("live.m3u8", {"segment_seconds": 5.0}, "only a video file can be cut"),
        ("a.mp4", {"segment_seconds": 0.0}, "segment_seconds 0 is out of range"),
        (
            "a.mp4",
            {"container": "nut"},
            "a file's name decides its format; leave container='nut' out",
        ),
    ],
)
def test_settings_that_do_not_belong_to_the_target(
    tmp_path: Path, target: str, options: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidOutputError, match=message):
        open_output(str(tmp_path / target), SPEC, OutputOptions(**options))  # pyright: ignore[reportArgumentType]


def test_without_an_encoder_on_the_gpu_the_cpu_encodes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "sana_stream.streaming.containers.encoder.encoder_name", lambda *_: "absent_encoder"
    )
    spec = StreamSpec(VIDEO, EncoderSettings("h264", nvenc=True))
    assert fall_back_to_software(spec) == StreamSpec(VIDEO, EncoderSettings("h264"))
    assert re.fullmatch(
        r"the GPU cannot encode h264 \(.*\); the CPU encodes", caplog.messages[0], re.DOTALL
    )
    with pytest.raises(InvalidOutputError, match="NVIDIA GPUs encode h264, h265, av1"):
        EncoderSettings("vp9", nvenc=True)
