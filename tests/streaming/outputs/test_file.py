"""Video files: what is in them when, and what becomes of them when things go wrong."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.ai_mark import DIGITAL_SOURCE_TYPE
from sana_stream.streaming.containers import ebml
from sana_stream.streaming.containers.matroska import remove_index as remove_matroska_index
from sana_stream.streaming.containers.mp4 import remove_index as remove_mp4_index
from sana_stream.streaming.containers.mp4_boxes import walk
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.run_mark import ANONYMOUS, run_mark
from sana_stream.streaming.video_format import EncoderSettings, Metadata, StreamSpec, VideoFormat

from ..blocks import FPS, HEIGHT, WIDTH, blocks, make_block, number_of, picture

VIDEO = VideoFormat(WIDTH, HEIGHT, FPS)
SPEC = StreamSpec(VIDEO)
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".ts", ".y4m")


def shown(path: Path | io.BytesIO) -> list[int]:
    """The numbers of the frames in a file."""
    with av.open(str(path) if isinstance(path, Path) else path, "r") as container:
        return [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_prefix_has_all_frames_written_so_far(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with_header = open_output(str(path), SPEC)
    frames = 0
    for block in blocks(4):
        with_header.write(block)
        frames += len(block.frames)
        assert with_header.frames == frames
        assert shown(io.BytesIO(path.read_bytes())) == list(range(frames))
    with_header.close()
    assert shown(path) == list(range(frames))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "h265"), (".mp4", "av1"), (".mkv", "ffv1"), (".ts", "h265"), (".webm", "av1")],
)
def test_other_codecs_keep_every_frame_and_say_nothing(
    tmp_path: Path, suffix: str, codec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a{suffix}"
    output = open_output(str(path), StreamSpec(VIDEO, EncoderSettings(codec)))
    for block in blocks(2):
        output.write(block)
    output.close()
    assert shown(path) == list(range(33))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_closed_file_is_ordinary(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    output = open_output(
        str(path), StreamSpec(VIDEO, metadata=Metadata("Dusk", ("a red boat", "rain & wind"), 7))
    )
    for block in blocks(4):
        output.write(block)
    output.close()
    with av.open(str(path)) as container:
        tags = {name.lower(): text for name, text in container.metadata.items()}
        stream = container.streams.video[0]
        assert container.duration == 65 * 1_000_000 // FPS
        assert stream.average_rate == FPS
        facts = json.loads(tags["comment"])
        assert tags["title"] == "Dusk"
        assert (facts["seed"], facts["run"]) == (7, run_mark(ANONYMOUS))
        if suffix != ".mov":
            assert tags["description"] == "a red boat\nrain & wind"
        container.seek(int(2.6 * 1_000_000))
        landed = next(container.decode(container.streams.video[0]))
        assert number_of(landed.to_ndarray(format="rgb24")) == 33, "the key frame before 2.6 s"
        assert landed.time == pytest.approx(33 / FPS, abs=0.001)


def test_a_closed_mp4_has_no_fragments_left(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    output = open_output(str(path), SPEC)
    for block in blocks(3):
        output.write(block)
    assert [part.kind for part in walk(path.read_bytes())][:3] == ["ftyp", "free", "moov"]
    output.close()
    assert [part.kind for part in walk(path.read_bytes())] == ["ftyp", "mdat", "moov", "uuid"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert stream.frames == 49
    assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == [0, 17, 33]
    assert sorted(packet.pts or 0 for packet in packets) == [1024 * n for n in range(49)]


@pytest.mark.parametrize(
    ("suffix", "remove"), [(".mp4", remove_mp4_index), (".mkv", remove_matroska_index)]
)
def test_an_index_can_be_taken_off_again(tmp_path: Path, suffix: str, remove: object) -> None:
    assert callable(remove)
    path = tmp_path / f"a{suffix}"
    output = open_output(str(path), SPEC)
    for block in blocks(3):
        output.write(block)
    growing = path.read_bytes()
    output.close()
    finished = path.read_bytes()
    assert finished != growing
    with path.open("r+b") as file:
        remove(file)
    assert path.read_bytes() == growing


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("sizes", [(5, 4, 4, 4), (1, 1, 2, 3, 1), (17, 1)])
def test_blocks_of_any_length(tmp_path: Path, suffix: str, sizes: tuple[int, ...]) -> None:
    path = tmp_path / f"a{suffix}"
    output = open_output(str(path), SPEC)
    start = 0
    for index, size in enumerate(sizes):
        output.write(make_block(index, start, size))
        start += size
    output.close()
    assert shown(path) == list(range(start))


def test_rates_that_are_fractions(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    output = open_output(str(path), StreamSpec(VideoFormat(WIDTH, HEIGHT, Fraction(24000, 1001))))
    for block in blocks(3):
        output.write(block)
    output.close()
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(24000, 1001)
        assert len(list(container.decode(video=0))) == 49


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".y4m"])
def test_colours_survive(tmp_path: Path, suffix: str) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 128, 8), (40, 90, 157), (128, 128, 128)]
    path = tmp_path / f"a{suffix}"
    flat = np.stack([np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for colour in colours])
    output = open_output(str(path), SPEC)
    output.write(replace(make_block(0, 0, 1), frames=flat))
    output.close()
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        if suffix != ".y4m":
            assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        matrix = Colorspace.ITU601 if suffix == ".y4m" else Colorspace.ITU709
        pictures = [
            frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
            for frame in container.decode(video=0)
        ]
    for colour, shown_as in zip(colours, pictures, strict=True):
        assert abs(shown_as[8:-8, 8:-8].astype(int) - colour).max() <= 4, (colour, shown_as[32, 48])


def test_captions_say_which_prompt_was_shown_when(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "a.mp4"), SPEC)
    prompts = ("a red boat", "a red boat", "rain -->\n & <wind>")
    written: list[str] = []
    for block in blocks(4, prompts=prompts):
        output.write(block)
        written.append((tmp_path / "a.vtt").read_text(encoding="utf-8"))
    output.close()
    notes = f"NOTE {run_mark(ANONYMOUS)}\n\nNOTE {DIGITAL_SOURCE_TYPE}\n\n"
    first = f"WEBVTT\n\n{notes}" + "00:00:00.000 --> 00:00:{}\na red boat\n"
    second = "\n00:00:02.062 --> 00:00:{}\nrain --&gt; &amp; &lt;wind&gt;\n"
    assert written == [
        first.format("01.062"),
        first.format("02.062"),
        first.format("02.062") + second.format("03.062"),
        first.format("02.062") + second.format("04.062"),
    ]


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("precious")
    with pytest.raises(InvalidOutputError, match=r"a\.mp4 exists; choose another name"):
        open_output(str(path), SPEC)
    assert path.read_text() == "precious"
    output = open_output(str(path), SPEC, OutputOptions(overwrite=True))
    output.write(make_block(0, 0, 5))
    output.close()
    assert shown(path) == list(range(5))


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_video_stays_when_its_captions_cannot_be_opened(tmp_path: Path, overwrite: bool) -> None:
    path = tmp_path / "a.mp4"
    if overwrite:
        output = open_output(str(path), SPEC)
        output.write(make_block(0, 0, 5))
        output.close()
        (tmp_path / "a.vtt").unlink()
    before = path.read_bytes() if overwrite else None
    output = open_output(str(path), SPEC, OutputOptions(overwrite=overwrite))
    (tmp_path / "a.vtt").mkdir()
    with pytest.raises(OutputError, match=r"a\.vtt: cannot be written: "):
        output.write(make_block(0, 0, 5))
    output.close()
    assert (path.read_bytes() if path.exists() else None) == before


def test_captions_of_another_video_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text("precious")
    with pytest.raises(InvalidOutputError, match=r"a\.vtt exists"):
        open_output(str(tmp_path / "a.mp4"), SPEC)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("missing/a.mp4", "cannot be written: no such file or directory"),
        ("a.avi", "its ending names no format"),
        ("a", "its ending names no format"),
        ("frames/a.png", "needs one frame number"),
        ("frames/%d_%d.png", "needs one frame number"),
        ("missing/deep/%d.png", "cannot be written"),
    ],
)
def test_a_target_that_cannot_be_is_refused_at_once(
    tmp_path: Path, target: str, message: str
) -> None:
    with pytest.raises(InvalidOutputError, match=message):
        open_output(str(tmp_path / target), SPEC)
    assert list(tmp_path.rglob("*.*")) == []


def test_a_file_without_a_frame_is_not_left_behind(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "a.mkv"), SPEC)
    output.close()
    output.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_removed_while_it_is_written_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    output = open_output(str(path), SPEC)
    source = blocks()
    output.write(next(source))
    path.unlink()
    with pytest.raises(OutputError, match=r"moved or removed .* with 17 frames \(1\.1 s\) in it"):
        output.write(next(source))
    output.close()


def test_a_playlist_removed_while_it_is_written_is_noticed(tmp_path: Path) -> None:
    """It is not begun again without its first lines."""
    path = tmp_path / "live.m3u8"
    output = open_output(str(path), SPEC)
    source = blocks()
    output.write(next(source))
    path.unlink()
    with pytest.raises(OutputError, match=r"no such file.*; 17 frames"):
        output.write(next(source))
    assert not path.exists()


def test_pictures_in_a_folder_are_exact(tmp_path: Path) -> None:
    pattern = str(tmp_path / "frames" / "%06d.png")
    output = open_output(pattern, SPEC)
    for block in blocks(2, size=4):
        output.write(block)
    output.close()
    files = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in files] == [f"{n:06}.png" for n in range(9)]
    for number, file in enumerate(files):
        with av.open(str(file)) as container:
            (frame,) = container.decode(video=0)
            assert (frame.to_ndarray(format="rgb24") == picture(number)).all()
    with pytest.raises(InvalidOutputError, match=r"\.png exists"):
        open_output(pattern, SPEC)


def test_matroska_index_names_every_block(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    output = open_output(str(path), SPEC)
    for block in blocks(3):
        output.write(block)
    output.close()
    data = path.read_bytes()
    file = io.BytesIO(data)
    segment = next(part for part in ebml.walk(file, 0, len(data)) if part.kind == ebml.SEGMENT)
    assert segment.end == len(data)
    parts = list(ebml.walk(file, segment.content, len(data)))
    assert [part.kind for part in parts[-4:]] == [ebml.CLUSTER] * 3 + [ebml.CUES]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_memory_does_not_grow_with_the_video(tmp_path: Path, suffix: str) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    output = open_output(str(tmp_path / f"a{suffix}"), SPEC)
    source = (replace(block, frames=block.frames[:4]) for block in blocks(size=4))
    for _ in range(50):
        output.write(next(source))
    before = resident()
    for _ in range(250):
        output.write(next(source))
    assert resident() - before < 3 << 20
    output.close()
