"""The prompts of a video for editing programs, read back by OpenTimelineIO."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from sana_stream.streaming import OutputOptions, StreamSpec, VideoFormat
from sana_stream.streaming.audio import AudioLoop, AudioTrack
from sana_stream.streaming.outputs.open import open_output

from ...command import run
from ...streaming.blocks import HEIGHT, WIDTH, blocks, pour
from ...streaming.outputs.test_audio import write_sound

PROMPTS = ("a red boat", "a red boat", "rain & <wind>", "night falls")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, fps: float | Fraction = 24) -> None:
    output = open_output(name, StreamSpec(VideoFormat(WIDTH, HEIGHT, fps)), OutputOptions())
    pour(output, blocks(4, prompts=PROMPTS))
    output.close()


@pytest.mark.parametrize("suffix", [".edl", ".otio"])
@pytest.mark.parametrize("fps", [24, 23.976])
def test_each_prompt_is_a_clip_with_its_frames(
    here: Path, capfd: pytest.CaptureFixture[str], suffix: str, fps: float
):
    otio = pytest.importorskip("opentimelineio", reason="needs sana-stream[edit]")
    write("film.mp4", fps)
    assert run("cues", "film.mp4", "--out", f"film{suffix}") == 0
    assert "3 prompts" in capfd.readouterr().err
    more: dict[str, Any] = {"rate": 24} if suffix == ".edl" else {}
    found = otio.adapters.read_from_file(f"film{suffix}", **more)
    clips = _clips(otio, found)
    assert [clip.name for clip in clips] == ["a red boat", "rain & <wind>", "night falls"]
    spans = [clip.source_range for clip in clips]
    rate = round(float(fps))
    assert [round(span.duration.to_seconds() * fps) for span in spans] == [33, 16, 16], rate
    assert [round(span.start_time.to_seconds() * fps) for span in spans] == [0, 33, 49]


@pytest.mark.parametrize("fps", [16, 24, Fraction(30000, 1001)])
def test_final_cut_gets_each_prompt_with_its_frames(here: Path, fps: float):
    write("film.mp4", fps)
    assert run("cues", "film.mp4", "--out", "film.fcpxml") == 0
    root = ElementTree.parse("film.fcpxml").getroot()

    def frames(text: str | None) -> Fraction:
        return Fraction((text or "").removesuffix("s")) * Fraction(fps)

    clips = root.findall(".//asset-clip")
    assert [clip.get("name") for clip in clips] == ["a red boat", "rain & <wind>", "night falls"]
    assert [frames(clip.get("start")) for clip in clips] == [0, 33, 49]
    assert [frames(clip.get("offset")) for clip in clips] == [0, 33, 49]
    assert [frames(clip.get("duration")) for clip in clips] == [33, 16, 16]
    (form,), (asset,) = root.iter("format"), root.iter("asset")
    assert frames(form.get("frameDuration")) == 1
    assert (form.get("width"), form.get("height")) == (str(WIDTH), str(HEIGHT))
    assert frames(asset.get("duration")) == 65
    assert asset[0].get("src") == (here / "film.mp4").as_uri()


@pytest.mark.parametrize(
    "fps", [Fraction(60000, 1001), Fraction(24000, 1001), 60, Fraction(73, 10)]
)
@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_rates_of_matroska_are_exact(here: Path, fps: Fraction, suffix: str):
    write(f"film{suffix}", fps)
    assert run("cues", f"film{suffix}", "--out", "film.fcpxml") == 0
    (form,) = ElementTree.parse("film.fcpxml").getroot().iter("format")
    assert 1 / Fraction((form.get("frameDuration") or "")[:-1]) == fps


def test_final_cut_gets_the_sound(here: Path):
    write_sound(here / "a.wav")
    spec = StreamSpec(VideoFormat(WIDTH, HEIGHT, 16), audio=AudioTrack(AudioLoop(here / "a.wav")))
    output = open_output("film.mp4", spec)
    pour(output, blocks(1))
    output.close()
    assert run("cues", "film.mp4", "--out", "film.fcpxml") == 0
    (asset,) = ElementTree.parse("film.fcpxml").getroot().iter("asset")
    assert (asset.get("hasAudio"), asset.get("audioChannels")) == ("1", "2")
    assert asset.get("audioRate") == "48000"


def _clips(otio: Any, found: Any) -> list[Any]:
    if hasattr(found, "find_clips"):
        return list(found.find_clips())
    return [clip for part in found for clip in _clips(otio, part)]


def test_edl_needs_a_rate_of_film_or_television(here: Path, capfd: pytest.CaptureFixture[str]):
    write("film.mp4", 16)
    assert run("cues", "film.mp4", "--out", "film.edl") == 2
    line = capfd.readouterr().err
    assert "cannot express 16 frames a second" in line
    assert "--fps 24" in line
    assert run("cues", "film.mp4", "--out", "film.fcpxml") == 0


def test_what_cannot_be_written_is_refused(here: Path, capfd: pytest.CaptureFixture[str]):
    write("film.mp4")
    Path("alone.mp4").write_bytes(Path("film.mp4").read_bytes())
    Path("text.mp4").write_text("no video")
    Path("there.fcpxml").write_text("precious")
    for words, message in (
        (("film.mp4", "--out", "film.xyz"), "use one of .edl .fcpxml .otio"),
        (("none.mp4", "--out", "a.fcpxml"), "none.mp4: no such file"),
        (("text.mp4", "--out", "a.fcpxml"), "give a video file"),
        (("alone.mp4", "--out", "a.fcpxml"), "alone.vtt: no such file"),
        (("film.mp4", "--out", "there.fcpxml"), "there.fcpxml exists"),
        (("film.mp4", "--out", "none/a.fcpxml"), "a.fcpxml: its folder does not exist"),
    ):
        assert run("cues", *words) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert message in line
    assert Path("there.fcpxml").read_text() == "precious"
    assert not Path("a.fcpxml").exists()
    assert run("cues", "film.mp4", "--out", "there.fcpxml", "--overwrite", "--quiet") == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="names and pipes of POSIX")
def test_names_and_prompts_of_any_text_become_valid_xml(here: Path):
    write("film.mp4")
    name = b"f\x01\xff.mp4".decode("utf-8", "surrogateescape")
    Path("film.mp4").rename(name)
    Path("film.vtt").rename(Path(name).with_suffix(".vtt"))
    captions = Path(name).with_suffix(".vtt")
    captions.write_text(captions.read_text().replace("a red boat", "a \uffff \u0085 boat"))
    assert run("cues", name, "--out", "film.fcpxml") == 0
    root = ElementTree.parse("film.fcpxml").getroot()
    (asset,) = root.iter("asset")
    assert asset.get("name") == "f  .mp4"
    assert (root.findall(".//asset-clip")[0].get("name") or "").split() == ["a", "boat"]


@pytest.mark.skipif(sys.platform == "win32", reason="names and pipes of POSIX")
def test_a_pipe_and_a_playlist_are_no_videos(here: Path, capfd: pytest.CaptureFixture[str]):
    os.mkfifo("pipe.mp4")
    write("film.mp4")
    names = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfilm.mp4\n#EXT-X-ENDLIST\n"
    Path("other.mp4").write_text(names)
    Path("other.vtt").write_bytes(Path("film.vtt").read_bytes())
    for name, reason in (("pipe.mp4", "it is not a regular file"), ("other.mp4", "")):
        assert run("cues", name, "--out", "a.fcpxml") == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert f"{name}: {reason}" in line
        assert "give a video file" in line


def test_message_names_the_file_that_was_given(here: Path, capfd: pytest.CaptureFixture[str]):
    write("film.mp4")
    long = 300 * "a" + ".fcpxml"
    assert run("cues", "film.mp4", "--out", long) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("sana-stream: aaa")
    assert line.endswith(": file name too long")


def test_missing_package_is_named(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    write("film.mp4")
    assert run("cues", "film.mp4", "--out", "film.otio") == 2
    assert "pip install 'sana-stream[edit]'" in capfd.readouterr().err
