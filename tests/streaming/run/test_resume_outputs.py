"""Refused resumes change no file, and a checkpoint does not choose output addresses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from sana_stream.engine.engine import Engine
from sana_stream.engine.snapshot.header import checksum

from ...command import pictures, run
from ...interruptions import make_interrupted, posix
from .folder_contents import FOREIGN, OUTPUTS, files


def rewritten(checkpoint: Path, **changes: object) -> None:
    """Copy a checkpoint with changed header values and a valid checksum."""
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
def test_refused_resume_changes_no_file(
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
def test_resume_with_another_model_changes_no_file(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    before = files()
    monkeypatch.setattr(Engine, "load", _load_really)
    assert run("resume", "a.mp4", "--model", "pocket", "--device", "cpu") == 1
    assert "is a stream of another model" in capfd.readouterr().err
    assert run("resume", "a.mp4", "--model", "missing") == 2
    assert files() == before


LOAD = Engine.load  # before a fixture replaces it


def _load_really(model: str, device: str, dtype: str, **more: object) -> Engine:
    return LOAD(model, device, dtype)


@posix
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_checkpoint_is_refused_with_one_line(
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
def test_forged_run_header_is_refused_with_one_line(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    key: str,
):
    make_interrupted(monkeypatch, 1, "a.mp4", *tiny, frames=25)  # of 3 blocks
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
def test_checkpoint_does_not_choose_output_addresses(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    """Outputs elsewhere, addresses and the web page are used only when they are given again."""
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
def test_copied_pair_is_resumed_and_original_unchanged(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, name: str
):
    Path("first").mkdir()
    make_interrupted(monkeypatch, 2, f"first/{name}", *tiny, frames=33)
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
    assert len(pictures(shown)) == 33
    assert files(Path("first")) == before
    assert not list(Path("second").rglob("*.ckpt"))


@posix
def test_video_of_another_run_is_not_truncated(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    assert run("--prompt", "a fox", "--frames", "40", "--out", "b.mp4", *tiny) == 0
    shutil.copy("b.mp4", "a.mp4")
    before = files()
    assert run("resume", "a.mp4") == 2
    assert "a.mp4: cannot be resumed: another run has written it" in capfd.readouterr().err
    assert files() == before
