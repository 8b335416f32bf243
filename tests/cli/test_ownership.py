"""What exists is never put at risk: refused runs change nothing, and nothing foreign is touched."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from sana_stream.engine.engine import Engine
from sana_stream.engine.snapshot_header import checksum

from .interrupt import make, make_interrupted, posix
from .run import pictures, run

OUTPUTS = ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.ts", "a.y4m", "a/%03d.png", "a/live.m3u8"]
FOREIGN = b"something of somebody's"


def files(folder: Path = Path()) -> dict[str, bytes]:
    """Everything in a folder and below, with its content."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def rewritten(checkpoint: Path, **changes: object) -> None:
    """A checkpoint of which a stranger has changed what it says, with a right checksum."""
    with safe_open(checkpoint, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    extra = json.loads(metadata["extra"])
    for key, value in changes.items():
        place, *names = key.split("__")
        target = extra if place == "extra" else extra["run"]
        for name in names[:-1]:
            target = target[name]
        target[names[-1]] = value
    metadata["extra"] = json.dumps(extra)
    metadata["checksum"] = checksum(metadata, tensors)
    save_file(tensors, checkpoint, metadata)


@posix
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_resume_that_is_refused_changes_nothing(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str
):
    make_interrupted(monkeypatch, 2, name, *tiny)
    checkpoint = Path("a/live.ckpt" if name.endswith(".m3u8") else "a.ckpt")
    data = checkpoint.read_bytes()
    refused = 0
    for damaged in (
        b"",
        data[: len(data) // 2],
        data[:-1],
        data[:100] + bytes([data[100] ^ 1]) + data[101:],
        data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    ):
        checkpoint.write_bytes(damaged)
        before = files()
        assert run("resume", name) in (1, 2)
        assert files() == before
        refused += 1
    checkpoint.write_bytes(data)
    before = files()
    assert run("resume", name, "--dtype", "float12") in (1, 2)
    assert run("resume", name, "--web", "99999") == 2
    assert files() == before
    assert refused == 5


@posix
def test_a_resume_with_another_model_changes_nothing(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    before = files()
    monkeypatch.setattr("sana_stream.cli.model.load", _load_really)
    assert run("resume", "a.mp4", "--model", "pocket", "--device", "cpu") == 1
    assert "is a stream of another model" in capfd.readouterr().err
    assert run("resume", "a.mp4", "--model", "missing") == 2
    assert files() == before


def _load_really(model: str, device: str, dtype: str, **more: object) -> Engine:
    return Engine.load(model, device, dtype)


@posix
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_checkpoint_is_refused_with_one_line(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    data: st.DataObject,
):
    if not Path("a.ckpt").exists():
        make_interrupted(monkeypatch, 1, "a.mp4", *tiny)
        shutil.copy("a.ckpt", "good")
    whole = bytearray(Path("good").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] ^= data.draw(st.integers(1, 255))
    Path("a.ckpt").write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    before = files()
    capfd.readouterr()
    assert run("resume", "a.mp4") in (1, 2)
    said = capfd.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("sana-stream: ")]) == 1
    assert not any("Error" in line for line in said)
    assert files() == before


VALUES = [None, True, -1, 0, 1.5, 10**30, float("1e300"), "", "x" * 10_000, [], [[]], {}, "\x1b[2J"]
KEYS = [
    *(f"run__options__{name}" for name in ("outputs", "length", "size", "fps", "steps", "loras")),
    *(f"run__options__{name}" for name in ("seed", "guidance", "memory", "block_frames", "model")),
    *("run__options", "run__story", "run__story__cues", "run__first_block", "run__take"),
    *("run__id", "run__checkpoint", "extra__kept", "extra__run"),
]


@posix
@pytest.mark.parametrize("key", KEYS)
def test_a_run_that_a_stranger_has_described_ends_in_one_line(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    key: str,
):
    make_interrupted(monkeypatch, 1, "a.mp4", *tiny)
    shutil.copy("a.ckpt", "good")
    shutil.copytree(".", "../good", dirs_exist_ok=True)
    for value in VALUES:
        shutil.copy("good", "a.ckpt")
        rewritten(Path("a.ckpt"), **{key: value})
        before = files()
        capfd.readouterr()
        code = run("resume", "a.mp4")
        said = capfd.readouterr().err
        assert code in (0, 1, 2), (value, said)
        assert "Error" not in said, (value, said)
        assert "\x1b" not in said, (value, said)
        if code:
            assert len([s for s in said.splitlines() if s.startswith("sana-stream: ")]) == 1, said
            assert files() == before, value
        else:
            shutil.copytree("../good", ".", dirs_exist_ok=True)


@posix
def test_a_checkpoint_does_not_decide_where_to_write(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    """Outputs elsewhere, addresses and the page count only when they are given again."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    for name in ("b.mp4", "b.ts", "b.mkv", "000.png", "017.png", "live.m3u8", "init.mp4"):
        (elsewhere / name).write_bytes(FOREIGN)
        Path(name).write_bytes(FOREIGN)
    foreign = files(elsewhere)
    names = ["b.mp4", "b.ts", "b.mkv", "%03d.png", "live.m3u8", "../c.mp4", "deep/er/c.mp4"]
    here, there = Path().absolute(), elsewhere
    rewritten(
        Path("a.ckpt"),
        run__options__outputs=[
            str(here / "a.mp4"),
            *(str(there / name) for name in names),
            *(str(here / name) for name in names),
            "tcp://127.0.0.1:9",
            "-",
        ],
        run__options__web=0,
        run__options__host="0.0.0.0",
        run__options__overwrite=True,
    )
    assert run("resume", "a.mp4") == 0
    assert len(pictures("a.mp4")) == 60
    assert files(elsewhere) == foreign
    assert {name: files()[name] for name in foreign} == foreign
    assert not (here.parent / "c.mp4").exists()
    assert not Path("deep").exists()


@posix
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_copied_and_renamed_pair_is_resumed_and_its_original_stays(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str
):
    Path("first").mkdir()
    make_interrupted(monkeypatch, 2, f"first/{name}", *tiny)
    before = files(Path("first"))
    shutil.copytree("first", "second")
    if name.endswith(".m3u8"):
        new = "a/other.m3u8"
        os.rename("second/a/live.m3u8", "second/a/other.m3u8")
        os.rename("second/a/live.ckpt", "second/a/other.ckpt")
    else:
        new = name.replace("a", "new", 1)
        for path in list(Path("second").iterdir()):
            path.rename(path.with_name(path.name.replace("a", "new", 1)))
    assert run("resume", f"second/{new}") == 0
    shown = Path("second", new.split("/%")[0])
    assert len(pictures(shown)) == 60
    assert files(Path("first")) == before
    assert not list(Path("second").rglob("*.ckpt"))


@posix
def test_a_video_of_another_run_is_not_cut(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    assert run("--prompt", "a fox", "--frames", "40", "--out", "b.mp4", *tiny) == 0
    shutil.copy("b.mp4", "a.mp4")
    before = files()
    assert run("resume", "a.mp4") == 2
    assert "a.mp4: cannot be resumed: another run has written it" in capfd.readouterr().err
    assert files() == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_overwriting_touches_the_named_file_and_its_own_companions_only(
    tiny: tuple[str, ...], name: str
):
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
        assert make(name, "--overwrite", *tiny) == 0
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
def test_a_foreign_file_in_a_companion_s_place_refuses_the_run(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], name: str, foreign: str
):
    Path("a").mkdir()
    Path(foreign).write_bytes(FOREIGN)
    before = files()
    assert make(name, "--overwrite", *tiny) == 2
    assert Path(foreign).name in capfd.readouterr().err
    assert files() == before


def test_a_training_checkpoint_in_the_way_refuses_the_run(tiny: tuple[str, ...]):
    torch.save({"w": torch.zeros(3)}, "a.ckpt")
    before = files()
    assert make("a.mp4", "--overwrite", *tiny) == 2
    assert make("a.mp4", *tiny) == 2
    assert files() == before
    assert make("a.mp4", "--checkpoint-every", "off", *tiny) == 0
    assert files()["a.ckpt"] == before["a.ckpt"]


@posix
def test_the_checkpoint_of_another_video_is_not_overwritten(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mkv", *tiny)
    before = files()
    assert run("--prompt", "a fox", "--frames", "9", "--out", "a.mp4", "--overwrite", *tiny) == 2
    assert "a.ckpt is the checkpoint of a.mkv" in capfd.readouterr().err
    assert files() == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_run_that_fails_before_its_first_block_leaves_the_old_video(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str
):
    assert make(name, *tiny) == 0
    before = files()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("not enough memory")

    monkeypatch.setattr("sana_stream.cli.model.load", fail)
    assert make(name, "--overwrite", *tiny) == 1
    assert files() == before


@pytest.mark.parametrize("option", ["--prompt-file", "--image", "--video"])
def test_a_file_that_is_read_is_not_written_over(
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


@pytest.mark.parametrize(
    "name", ["50%.mp4", "100%d.mkv", "a:b.mp4", "ü 🎬.mp4", "%.ts", "[x]*.mp4"]
)
@posix
def test_every_name_has_a_checkpoint(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str
):
    make_interrupted(monkeypatch, 2, name, *tiny)
    assert Path(name).with_suffix(".ckpt").exists()
    assert run("resume", name) == 0
    assert len(pictures(name)) == 60


def test_two_formats_under_one_name_have_captions_each(tiny: tuple[str, ...]):
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
def test_a_file_that_is_begun_takes_the_place_of_none(
    tiny: tuple[str, ...], name: str, partial: str
):
    Path("a").mkdir()
    Path("precious").write_bytes(FOREIGN)
    Path(partial).write_bytes(FOREIGN)
    assert make(name, "--keep-checkpoint", *tiny) == 0
    assert Path(partial).read_bytes() == FOREIGN


@posix
def test_a_link_in_the_place_of_a_partial_file_is_not_followed(tiny: tuple[str, ...]):
    Path("precious").write_bytes(FOREIGN)
    for name in ("a.ckpt.part", ".a.ckpt.sana-stream.part"):
        Path(name).symlink_to("precious")
    assert make("a.mp4", "--keep-checkpoint", *tiny) == 0
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
def test_two_outputs_that_would_write_one_file_are_refused(
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


def test_captions_of_one_folder_under_two_names_are_apart(tiny: tuple[str, ...]):
    Path("a").mkdir()
    assert make("b.mp4", "--out", "a/../b.mkv", *tiny) == 0
    assert {"b.vtt", "b.mkv.vtt"} <= set(files())


def test_a_playlist_keeps_its_segments_when_another_comes_into_its_folder(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    assert make("a/live.m3u8", *tiny) == 0
    before = files()
    assert make("a/other.m3u8", "--overwrite", *tiny) == 2
    assert f"belongs to {Path('a/live.m3u8')}" in capfd.readouterr().err
    assert files() == before
    assert make("a/live.m3u8", "--overwrite", *tiny) == 0


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
def test_a_branch_never_writes_over_what_it_branches_from(
    tiny: tuple[str, ...], source: str, target: str
):
    Path("a").mkdir()
    Path("linked").symlink_to(".", target_is_directory=True)
    Path("link.mp4").symlink_to("a.mp4")
    assert make(source, "--keep-checkpoint", *tiny) == 0
    checkpoint = "a/live.ckpt" if source.endswith(".m3u8") else "a.ckpt"
    before = files()
    branch = ("branch", checkpoint, "--prompt", "a fox", "--frames", "8", "--overwrite")
    assert run(*branch, "--out", target, *tiny) == 2
    assert files() == before


@posix
def test_a_pipe_in_the_place_of_a_video_does_not_use_up_its_checkpoint(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    Path("a.mp4").unlink()
    os.mkfifo("a.mp4")
    before = files()
    assert run("resume", "a.ckpt") == 2
    assert "a.mp4 is a named pipe" in capfd.readouterr().err
    assert files() == before
