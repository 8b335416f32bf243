"""`--devices`, torchrun's environment, a killed process, and what is refused on one line."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from sana_stream.engine.parallel import start
from sana_stream.engine.parallel.devices import check_backend, device_of
from sana_stream.engine.parallel.world import World
from sana_stream.engine.snapshot.file import read_saved
from sana_stream.errors import ConfigError
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.resume import _division
from sana_stream.streaming.run.runner import Run

from ..command import command, pictures, run
from ..interruptions import at_block, interrupt, posix
from ..ports import free_port

STREAM = ("--prompt", "a red boat", "--device", "cpu", "--dtype", "float32")


@posix
def test_disturbed_video_on_two_devices_equals_that_of_one(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Killed under torchrun, resumed and interrupted without it, and resumed on one device."""
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    before = psutil.Process().children()
    shared = (*STREAM, "--model", tiny_folder, "--frames", "25")
    port = free_port()
    with monkeypatch.context() as patch:
        launch(patch, "1", "2", port)
        second = subprocess.Popen(command(shared), stderr=subprocess.PIPE)
        launch(patch, "0", "2", port)
        at_block(patch, 1, second.kill)
        assert run(*shared, "--parallel", "decoder", "--out", two) == 1
        assert second.communicate() == (None, b"")
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == (
        "sana-stream: process 1 of this stream's devices has ended (killed, or lost with its"
        " machine); the stream ends here, and can be resumed"
    )
    assert not [line for line in lines if "Traceback" in line or "gloo" in line]
    assert len(pictures(two)) == 9
    assert read_saved(two.with_suffix(".ckpt")).header.devices == 2
    with monkeypatch.context() as patch:
        at_block(patch, 1, interrupt)
        assert run("resume", two) == 130
    assert psutil.Process().children() == before
    assert "on 2 cpu devices" in capfd.readouterr().err
    assert len(pictures(two)) == 17
    assert run("resume", two, "--devices", "1") == 0
    assert run(*shared, "--out", one) == 0
    assert np.array_equal(pictures(one), pictures(two))
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("launched", "given", "expected"),
    [
        (None, {}, {"devices": 4, "parallel": "rows"}),
        (None, {"devices": 4}, {"parallel": "rows"}),
        (None, {"devices": 2}, {}),
        (None, {"devices": 4, "parallel": "frames"}, {}),
        ("4", {}, {"parallel": "rows"}),
        ("3", {}, {}),
    ],
)
def test_resumed_stream_has_its_division_unless_the_number_changes(
    launched: str | None, given: dict[str, object], expected: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if launched is not None:
        launch(monkeypatch, "0", launched)
    header = SimpleNamespace(devices=4)
    stored = SimpleNamespace(config=SimpleNamespace(parallel="rows"))
    assert _division(None, header, stored, given) == expected  # type: ignore[arg-type]


def launch(monkeypatch: pytest.MonkeyPatch, rank: str, size: str, port: int = 1) -> None:
    """Set the environment of a process that torchrun starts."""
    for name, value in (("RANK", rank), ("WORLD_SIZE", size), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(port))


def test_run_in_a_later_process_of_torchrun_follows_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch(monkeypatch, "1", "2")
    monkeypatch.setattr(start, "follow", lambda: 7)
    for make in (
        lambda: Run(None, RunConfig("a red boat", ["a.mp4"])),
        lambda: Run.resume(None, "a.mp4"),
    ):
        with pytest.raises(SystemExit, match="7"):
            make()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ((*STREAM, "--devices", "3", "--parallel", "frames"),
         ("3 devices cannot divide 2 latent frames a block (--parallel frames): give 1 to 2"
         " devices, or another way")),
        ((*STREAM, "--devices", "2", "--parallel", "heads"),
         ("parallel 'heads' is not known; use guidance, decoder, frames, rows or FRAMESxROWS, such"
         " as 2x2")),
        ((*STREAM, "--devices", "2", "--parallel", "guidance"),
         "--parallel guidance needs guidance other than 1: give --guidance 4"),
        ((*STREAM, "--parallel", "rows"),
         "--parallel rows needs 2 or more devices: give --devices 2"),
        ((*STREAM, "--devices", "65"), "devices 65: give 1 to 64"),
        ((*STREAM, "--devices", "2", "--compile"),
         "--compile is for one device: leave it or --devices out"),
    ],
)  # fmt: skip
def test_impossible_division_is_one_line(
    argv: tuple[str, ...], line: str, tiny_folder: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "boat.mp4"
    assert run(*argv, "--model", tiny_folder, "--out", out) == 2
    assert capfd.readouterr().err == f"sana-stream: {line}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["serve", "bench"])
def test_command_for_one_device_refuses_several(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(name, "--devices", "2") == 2
    line = f"sana-stream {name}: sana-stream {name} runs on one device: leave --devices out\n"
    assert capfd.readouterr().err == line
    launch(monkeypatch, "0", "2")
    assert run(name) == 2
    line = f"{name} runs in one process, torchrun has started 2: start it without torchrun"
    assert capfd.readouterr().err == f"sana-stream: {line}\n"


def test_more_cuda_devices_than_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    assert device_of("cuda", 2, None) == torch.device("cuda:0")
    assert device_of("cuda", 2, World(1, 2, 1, "host")) == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"devices=3 is more than .* 2 of CUDA; give devices=2"):
        device_of("cuda", 3, None)
    with pytest.raises(ConfigError, match='give device="cuda"'):
        device_of("cuda:1", 2, None)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(ConfigError, match="no NCCL"):
        device_of("cuda", 2, None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="needs cuda or cpu, not mps"):
        device_of("mps", 2, None)


def test_torch_without_distributed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"no torch\.distributed: give devices=1"):
        check_backend()
