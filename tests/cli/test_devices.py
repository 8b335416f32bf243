"""`--devices`, torchrun's environment, a killed process, and what is refused on one line."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sana_stream.engine.parallel.devices import check_backend, device_of
from sana_stream.engine.parallel.world import World
from sana_stream.errors import ConfigError

from ..command import command, environment, pictures, run
from ..ports import free_port

STREAM = ("--prompt", "a red boat", "--device", "cpu", "--dtype", "float32")


def begin(rank: int, port: int, cwd: Path, *argv: str | Path) -> subprocess.Popen[str]:
    """Start one process of the command as torchrun does."""
    world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.Popen(
        command(argv), cwd=cwd, env=environment() | world | places, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_killed_process_ends_the_run_which_is_resumed_on_one_device(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, checkpoint = tmp_path / "boat.mp4", tmp_path / "boat.ckpt"
    argv = (*STREAM, "--model", tiny_folder, "--frames", "100000", "--out", out)
    port = free_port()
    first, second = (begin(rank, port, tmp_path, *argv) for rank in (0, 1))
    try:
        while not checkpoint.exists() and first.poll() is None and second.poll() is None:
            time.sleep(0.05)
        os.kill(second.pid, signal.SIGKILL)
        output, log = first.communicate(timeout=60)
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    lines = log.splitlines()
    assert output == ""
    assert first.returncode == 1, log
    assert lines[-1] == (
        "sana-stream: process 1 of this stream's devices has ended (killed, or lost with its"
        " machine); the stream ends here, and can be resumed"
    )
    assert not [line for line in lines if "Traceback" in line or "gloo" in line]
    with av.open(str(out)) as video:
        made = sum(1 for _ in video.decode(video=0))
    assert made > 9
    resume_shortened(checkpoint, out, made, tiny_folder, tmp_path, capfd)


def resume_shortened(
    checkpoint: Path, out: Path, made: int, model: Path, folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Branch off a few frames: what follows the checkpoint equals a stream of one process."""
    branch = folder / "branch.mp4"
    arguments = ("branch", checkpoint, "--prompt", "a red boat", "--frames", "8", "--out", branch)
    capfd.readouterr()
    assert run(*arguments) == 0
    error = capfd.readouterr().err
    assert "was generated on 2 devices (frames 2), and continues on one device: not bit" in error
    assert len(pictures(branch)) == 8


def test_devices_of_this_machine_make_the_same_video(tiny_folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.y4m", tmp_path / "two.y4m"
    shared = (*STREAM, "--model", tiny_folder, "--frames", "17")
    assert run(*shared, "--devices", "2", "--parallel", "decoder", "--out", two) == 0
    assert run(*shared, "--out", one) == 0
    assert np.array_equal(pictures(one), pictures(two))
    assert not torch.distributed.is_initialized()


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
    for key, value in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert run(name) == 2
    line = f"{name} runs in one process, torchrun has started 2: start it without torchrun"
    assert capfd.readouterr().err == f"sana-stream: {line}\n"


def test_more_cuda_devices_than_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    assert device_of("cuda", 2, None) == torch.device("cuda:0")
    assert device_of("cuda", 2, World(1, 2, 1, "host")) == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"devices=3 .* has 2 CUDA devices: give devices=2"):
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
