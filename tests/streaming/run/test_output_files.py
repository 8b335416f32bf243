"""Only the named output and its companion files are replaced; no foreign file is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ...command import pictures, run
from ...interruptions import make, make_interrupted, posix
from .folder_contents import FOREIGN, OUTPUTS, files

SHORT = 25  # frames, three blocks


@pytest.mark.parametrize("name", OUTPUTS)
def test_overwriting_changes_only_output_and_companions(tiny: tuple[str, ...], name: str):
    Path("a").mkdir()
    neighbours = [
        "a/notes.txt",
        "a/segment.m4s",
        "a.srt",
        "ab.mp4",
        "a-0001.mp4",
        "a.part",
        "a.jpg",
    ]
    for neighbour in neighbours:
        Path(neighbour).write_bytes(FOREIGN)
    for _ in range(2):
        assert make(name, "--overwrite", *tiny, frames=SHORT) == 0
    assert all(Path(neighbour).read_bytes() == FOREIGN for neighbour in neighbours)


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        *(("a.mp4", companion) for companion in ("a.vtt", "a.ckpt")),
        *(("a/live.m3u8", companion) for companion in ("a/init.mp4", "a/segment000003.m4s")),
        ("a/%03d.png", "a.ckpt"),
        ("a/live.m3u8", "a/live.ckpt"),
    ],
)
def test_foreign_file_with_a_companions_name_is_refused(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], name: str, foreign: str
):
    Path("a").mkdir()
    Path(foreign).write_bytes(FOREIGN)
    before = files()
    assert make(name, "--overwrite", *tiny) == 2
    assert Path(foreign).name in capfd.readouterr().err
    assert files() == before


def test_training_checkpoint_is_not_overwritten(tiny: tuple[str, ...]):
    torch.save({"w": torch.zeros(3)}, "a.ckpt")
    before = files()
    assert make("a.mp4", "--overwrite", *tiny) == 2
    assert make("a.mp4", *tiny) == 2
    assert files() == before
    assert make("a.mp4", "--checkpoint-every", "off", *tiny) == 0
    assert files()["a.ckpt"] == before["a.ckpt"]


@posix
def test_checkpoint_of_another_video_is_not_overwritten(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mkv", *tiny)
    before = files()
    assert run("--prompt", "a fox", "--frames", "9", "--out", "a.mp4", "--overwrite", *tiny) == 2
    assert "a.ckpt is the checkpoint of a.mkv" in capfd.readouterr().err
    assert files() == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_failure_before_first_block_keeps_old_video(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str
):
    assert make(name, *tiny, frames=SHORT) == 0
    before = files()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("not enough memory")

    monkeypatch.setattr("sana_stream.engine.engine.Engine.load", fail)
    assert make(name, "--overwrite", *tiny) == 1
    assert files() == before


@pytest.mark.parametrize("option", ["--prompt-file", "--image", "--video"])
def test_input_file_is_not_overwritten(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], option: str
):
    if option == "--prompt-file":
        Path("b.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:02.000\na red boat\n")
        words, out = (option, "b.vtt"), "b.mp4"
    elif option == "--image":
        assert run("--prompt", "a fox", "--frames", "3", "--out", "b/%03d.png", *tiny) == 0
        words, out = (option, "b/001.png", "--prompt", "a fox"), "b/%03d.png"
    else:
        assert run("--prompt", "a fox", "--frames", "30", "--out", "b.mp4", *tiny) == 0
        words, out = (option, "b.mp4", "--prompt", "a fox"), "b.mp4"
    before = files()
    assert run(*words, "--frames", "9", "--out", out, "--overwrite", *tiny) == 2
    assert "would write over" in capfd.readouterr().err
    assert files() == before


def test_input_among_numbered_files_is_not_removed(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    words = ("--prompt", "a fox", "--frames", "33")
    parts = ("--out", "b.mp4", "--segment", "1")
    assert run(*words, *parts, *tiny) == 0
    assert run(*words, "--out", "live/a.m3u8", *tiny) == 0
    os.link("b-0002.mp4", "live/segment000009.m4s")
    before = files()
    for given, output in (
        (("--video", "b-0002.mp4", "--prompt", "a fox"), parts),  # would be removed
        (("--prompt-file", "b-0002.vtt"), parts),
        (("--video", "live/segment000009.m4s", "--prompt", "a fox"), ("--out", "live/a.m3u8")),
    ):
        assert run(*given, "--frames", "9", *output, "--overwrite", *tiny) == 2
        assert f"would write over the {'prompt' if '--prompt-file' in given else 'clip'}" in (
            capfd.readouterr().err
        )
        assert files() == before


@pytest.mark.parametrize(
    "name", ["50%.mp4", "100%d.mkv", "a:b.mp4", "ü 🎬.mp4", "%.ts", "[x]*.mp4"]
)
@posix
def test_every_output_name_has_a_checkpoint(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str
):
    make_interrupted(monkeypatch, 2, name, *tiny, frames=33)
    assert Path(name).with_suffix(".ckpt").exists()
    assert run("resume", name) == 0
    assert len(pictures(name)) == 33


def test_two_formats_of_one_name_have_separate_captions(tiny: tuple[str, ...]):
    assert run("--prompt", "a fox", "--frames", "9", "--out", "a.mp4", "--out", "a.mkv", *tiny) == 0
    assert sorted(os.listdir()) == ["a.mkv", "a.mkv.vtt", "a.mp4", "a.vtt"]
    assert len(pictures("a.mp4")) == len(pictures("a.mkv")) == 9


@pytest.mark.parametrize(
    ("name", "partial"),
    [
        ("a.mp4", "a.ckpt.part"),
        ("a/%03d.png", "a/000.png.part"),
        ("a/live.m3u8", "a/live.m3u8.part"),
        ("a/live.m3u8", "a/segment000001.m4s.part"),
    ],
)
def test_partial_file_replaces_no_existing_file(tiny: tuple[str, ...], name: str, partial: str):
    Path("a").mkdir()
    Path("precious").write_bytes(FOREIGN)
    Path(partial).write_bytes(FOREIGN)
    assert make(name, "--keep-checkpoint", *tiny, frames=SHORT) == 0
    assert Path(partial).read_bytes() == FOREIGN


@posix
def test_link_with_the_partial_files_name_is_not_followed(tiny: tuple[str, ...]):
    Path("precious").write_bytes(FOREIGN)
    for name in ("a.ckpt.part", ".a.ckpt.sana-stream.part"):
        Path(name).symlink_to("precious")
    assert make("a.mp4", "--keep-checkpoint", *tiny, frames=SHORT) == 0
    assert Path("precious").read_bytes() == FOREIGN
    assert not Path("a.ckpt").is_symlink()


@posix
@pytest.mark.parametrize(
    "names",
    [
        ("a.mp4", "./a.mp4"),
        ("a.mp4", "a/../a.mp4"),
        ("a.mp4", "link.mp4"),
        ("one.mp4", "two.mp4"),  # two hard links
        ("a/%03d.png", "./a/%03d.png"),
        ("a/live.m3u8", "a/other.m3u8"),
        ("a/live.m3u8", "a/init.mp4"),
        ("a.mp4", "a.mkv", "--segment", "1s"),
        ("a.mkv.mp4", "a.mp4", "a.mkv"),
    ],
    ids=" ".join,
)
def test_two_outputs_to_one_file_are_refused(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], names: tuple[str, ...]
):
    Path("a").mkdir()
    Path("link.mp4").symlink_to("a.mp4")
    Path("one.mp4").write_bytes(FOREIGN)
    os.link("one.mp4", "two.mp4")
    before = files()
    first, *others = names
    more = [word for name in others for word in (["--out", name] if "." in name else [name])]
    assert make(first, *more, "--overwrite", *tiny) == 2
    assert "give another name" in capfd.readouterr().err
    assert files() == before


def test_outputs_of_one_folder_have_separate_captions(tiny: tuple[str, ...]):
    Path("a").mkdir()
    assert make("b.mp4", "--out", "a/../b.mkv", *tiny) == 0
    assert {"b.vtt", "b.mkv.vtt"} <= set(files())


def test_second_playlist_in_a_folder_keeps_first_segments(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    assert make("a/live.m3u8", *tiny, frames=SHORT) == 0
    before = files()
    assert make("a/other.m3u8", "--overwrite", *tiny) == 2
    assert f"belongs to {Path('a/live.m3u8')}" in capfd.readouterr().err
    assert files() == before
    assert make("a/live.m3u8", "--overwrite", *tiny, frames=SHORT) == 0


@posix
@pytest.mark.parametrize(
    ("source", "target"),
    [
        *(("a.mp4", f"{place}.mp4") for place in ("a", "./a", "a/../a", "linked/a", "link")),
        ("a.mp4", "a/../a.mkv"),
        ("a/%03d.png", "a/%03d.png"),
        ("a/live.m3u8", "a/live.m3u8"),
        ("a/live.m3u8", "linked/a/live.m3u8"),
        ("a/live.m3u8", "a/other.m3u8"),
    ],
)
def test_branch_does_not_overwrite_its_source(tiny: tuple[str, ...], source: str, target: str):
    Path("a").mkdir()
    Path("linked").symlink_to(".", target_is_directory=True)
    Path("link.mp4").symlink_to("a.mp4")
    assert make(source, "--keep-checkpoint", *tiny, frames=SHORT) == 0
    checkpoint = "a/live.ckpt" if source.endswith(".m3u8") else "a.ckpt"
    before = files()
    branch = ("branch", checkpoint, "--prompt", "a fox", "--frames", "8", "--overwrite")
    assert run(*branch, "--out", target, *tiny) == 2
    assert files() == before


@posix
def test_pipe_with_the_videos_name_keeps_its_checkpoint(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    Path("a.mp4").unlink()
    os.mkfifo("a.mp4")
    before = files()
    assert run("resume", "a.ckpt") == 2
    assert "a.mp4 is a named pipe" in capfd.readouterr().err
    assert files() == before
